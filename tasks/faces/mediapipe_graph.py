"""MediaPipe's own graph around a landmark model, safe to close and to retry: for models that only it can run.

IMAGE mode only: VIDEO mode is low-pass filtered, lags and damps blinks. The graph lives inside a `with`, because one
that the garbage collector frees can hang the process, and it must be made after a fork, never before.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.table import BLENDSHAPES
from tasks.faces.detected import DetectedFace
from tasks.faces.native import SYSTEM_PACKAGES, without_notices

log = logging.getLogger(__name__)


def load_library() -> None:
    """Load MediaPipe's own library. Raises OSError that says what this system lacks, and how to get it."""
    from mediapipe.tasks.python.core.mediapipe_c_bindings import load_raw_library

    try:
        load_raw_library()
    except OSError as error:
        raise OSError(f"MediaPipe does not load on this system ({error}). {SYSTEM_PACKAGES}") from error


class MediaPipeGraph:
    """One open graph; finds up to `max_faces` faces, with `blendshapes` where the model has them."""

    def __init__(self, asset: Path, max_faces: int, blendshapes: bool) -> None:
        self.asset, self.max_faces, self.blendshapes = asset, max_faces, blendshapes
        self._landmarker: Any = None
        self._open()

    def close(self) -> None:
        """Frees the graph; safe to call twice."""
        landmarker, self._landmarker = self._landmarker, None
        if landmarker is None:
            return
        try:
            landmarker.close()
        except (RuntimeError, ValueError) as error:
            # A graph that failed complains once more here, and has been freed nevertheless: without this the garbage
            # collector would free it a second time.
            error.with_traceback(None)
            landmarker._handle = None
            log.debug("closing a failed landmarker: %s", error)

    def _open(self) -> None:
        from mediapipe.tasks.python import BaseOptions, vision  # 2 s to import

        load_library()
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self.asset)),
            running_mode=vision.RunningMode.IMAGE,
            num_faces=self.max_faces,
            output_face_blendshapes=self.blendshapes,
        )
        with without_notices():
            self._landmarker = vision.FaceLandmarker.create_from_options(options)

    def detect_each(self, pictures: Sequence[np.ndarray]) -> list[list[DetectedFace]]:
        """`detect` of one picture after the other."""
        return [self.detect(rgb) for rgb in pictures]

    def detect(self, rgb: np.ndarray) -> list[DetectedFace]:
        """Faces in a contiguous `rgb` (h, w, 3) uint8, in no order.

        A graph that fails is replaced by a new one and asked once more; a second failure is the picture's.
        """
        if self._landmarker is None:  # the one that was to replace it could not be opened
            self._open()
        try:
            return self._detect(rgb)
        except (RuntimeError, ValueError) as error:
            # a landmarker kept alive by its traceback would later be freed by the garbage collector
            error.with_traceback(None)
            log.warning("the landmark graph failed and is replaced: %s", str(error)[:300])
        self.close()
        self._open()
        return self._detect(rgb)

    def _detect(self, rgb: np.ndarray) -> list[DetectedFace]:
        """The faces, read out of MediaPipe's own memory: its Python objects, one a point, cost 5% of a detection."""
        import mediapipe as mp
        from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarkerResultC

        # MediaPipe ignores strides: what is not contiguous would be misread without a word
        assert rgb.flags.c_contiguous
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=rgb)
        landmarker, found = self._landmarker, FaceLandmarkerResultC()
        landmarker._lib.MpFaceLandmarkerDetectImage(landmarker._handle, image._image_ptr, None, ctypes.byref(found))
        try:
            return [self._read(found, number) for number in range(found.face_landmarks_count)]
        finally:
            landmarker._lib.MpFaceLandmarkerCloseResult(ctypes.byref(found))

    def _read(self, found: Any, number: int) -> DetectedFace:
        """One face of a result, copied."""
        landmarks = found.face_landmarks[number]
        points = np.stack(_fields(landmarks.landmarks, landmarks.landmarks_count, ("x", "y", "z")), axis=1)
        assert points.shape == (topology.POINTS, 3), points.shape
        shapes = None
        if self.blendshapes:
            listed = found.face_blendshapes[number]
            index, score = _fields(listed.categories, listed.categories_count, ("index", "score"))
            shapes = np.zeros(BLENDSHAPES, np.float32)
            shapes[index.astype(int)] = score
        return DetectedFace(points, shapes)


def _fields(pointer: Any, count: int, names: tuple[str, ...]) -> list[np.ndarray]:
    """Members of `count` C structures behind a pointer, (count,) float32 each; `index` is an int32 in C."""
    kind = pointer._type_
    layout = _layout(kind, names)
    memory = (ctypes.c_char * (count * ctypes.sizeof(kind))).from_address(ctypes.addressof(pointer.contents))
    table: np.ndarray = np.frombuffer(memoryview(memory), dtype=layout)
    return [table[name].astype(np.float32) for name in names]


@lru_cache(maxsize=8)
def _layout(kind: Any, names: tuple[str, ...]) -> np.dtype[Any]:
    """Where these members lie in a C structure."""
    fields = {name: ("<i4" if name == "index" else "<f4", getattr(kind, name).offset) for name in names}
    return np.dtype(
        {
            "names": list(fields),
            "formats": [form for form, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": ctypes.sizeof(kind),
        }
    )
