"""The native code of the landmark model: the libraries that it needs, and its notices on stderr, which help nobody."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SYSTEM_PACKAGES = "Debian and Ubuntu: apt-get install libgl1 libglib2.0-0 libgles2 libegl1"

_NOTICES = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    rb"|INFO: Created TensorFlow Lite XNNPACK delegate for CPU\."
    rb"|[WI]\d{4} \S+ +\d+ face_landmarker_graph\.cc:\d+\] Sets FaceBlendshapesGraph acceleration to "
    rb"xnnpack by default\."
    rb"|[WI]\d{4} \S+ +\d+ inference_feedback_manager\.cc:\d+\] Feedback manager requires a model with a single "
    rb"signature inference\. Disabling support for feedback tensors\."
)

_ONE_AT_A_TIME = threading.RLock()  # of two at once, the later would put back what the earlier had put in its place


@contextmanager
def without_notices() -> Iterator[None]:
    """Hold back what is written to stderr in the body, by whatever thread; after it, all but the notices is passed on.

    For a moment only: what a crash in it would say is lost, and other threads wait that want the same.
    """
    with _ONE_AT_A_TIME:
        try:
            outside = os.dup(2)
        except OSError:  # there is no stderr
            yield
            return
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(outside, 2)
                os.close(outside)
                held.seek(0)
                for line in held:
                    if not _NOTICES.fullmatch(line.rstrip(b"\r\n")):
                        os.write(2, line)
