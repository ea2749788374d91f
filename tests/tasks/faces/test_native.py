"""The notices that MediaPipe writes for every landmarker do not hide a run's own lines; all else is passed on."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.native import without_notices

NOTICE = "W0000 00:00:1795839317.812436   18489 inference_feedback_manager.cc:114] Feedback manager requires a model "
NOTICE += "with a single signature inference. Disabling support for feedback tensors."


def test_only_the_known_notices_are_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), without_notices():
        os.write(2, f"{NOTICE}\nE0000 a real error\n{NOTICE} And more.\nno newline at the end".encode())
        raise RuntimeError
    assert capfd.readouterr().err == f"E0000 a real error\n{NOTICE} And more.\nno newline at the end"
    os.write(2, NOTICE.encode())
    assert capfd.readouterr().err == NOTICE, "afterwards everything is as before"


def test_two_threads_at_once_leave_stderr_where_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    def later() -> None:
        inside.wait(10)
        with without_notices():
            over.set()

    inside, over = threading.Event(), threading.Event()
    other = threading.Thread(target=later)
    other.start()
    with without_notices():
        inside.set()
        assert not over.wait(0.3), "the other one has begun"
    other.join(10)
    os.write(2, b"still heard")
    assert over.is_set() and capfd.readouterr().err == "still heard"


def test_a_landmarker_is_made_and_asked_in_silence(
    landmarker_asset: LandmarkerAsset, capfd: pytest.CaptureFixture[str]
) -> None:
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as landmarker:
        assert landmarker.detect(np.zeros((64, 64, 3), np.uint8)) == []
    assert capfd.readouterr().err == ""
