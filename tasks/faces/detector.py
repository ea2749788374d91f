"""Faces in one picture: the landmark model behind plain arrays, also for small faces and parts of a picture.

Frame by frame, without a memory: MediaPipe's VIDEO mode is low-pass filtered, lags and damps blinks. The usual model is
run by itself (`face_models.py`), the fallback model by MediaPipe's graph (`mediapipe_graph.py`), for whose sake a
landmarker lives inside a `with` and is made after a fork, never before.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from fye_model.landmarks.boxes import FractionBox, distinct, overlap
from tasks.faces.detected import DetectedFace
from tasks.faces.face_models import EXPRESSION, FaceModels
from tasks.faces.mediapipe_graph import MediaPipeGraph

__all__ = ["DetectedFace", "FaceLandmarker"]

_TILE_LEVELS = (2, 3)  # tiles of 1/2, then 1/3 of the longer side: faces down to about 5% of it
_MOST_SIDE = 32_766  # pixels that OpenCV samples from; MediaPipe's graph ends the process beyond
_CROP_MARGIN = 0.75  # around a found face, each side, as a fraction of its longer side: it then fills 40% of the crop


class FaceLandmarker:
    """Context manager around one landmarker; `model` is the id that goes with everything it measures.

    Finds up to `max_faces` faces. The full-frame detector needs faces of about 12-15% of the longer side;
    `detect_small` goes on with parts of the picture when it finds none. `points_only`: blendshapes are None.
    """

    def __init__(self, asset: Path, model: str, max_faces: int = 1, points_only: bool = False) -> None:
        if not Path(asset).is_file():
            raise ValueError(
                f"No landmark model at {asset}: expected MediaPipe's face_landmarker.task; "
                "give its folder as FYE_ASSETS=FOLDER"
            )
        try:
            with zipfile.ZipFile(asset) as bundle:
                self._usual = EXPRESSION in bundle.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{asset}: not a readable .task bundle ({error}); fetch MediaPipe's face_landmarker.task again"
            ) from error
        self.asset = Path(asset)
        self.model = model
        self.max_faces = max_faces
        self.has_blendshapes = self._usual and not points_only
        self._graph: FaceModels | MediaPipeGraph | None = None

    def __enter__(self) -> Self:
        kind = FaceModels if self._usual else MediaPipeGraph
        self._graph = kind(self.asset, self.max_faces, self.has_blendshapes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the landmarker; safe to call twice."""
        if self._graph is not None:
            self._graph.close()
        self._graph = None

    def detect(self, rgb: np.ndarray) -> list[DetectedFace]:
        """Faces in `rgb` (h, w, 3) uint8, largest first."""
        return self.detect_each([rgb])[0]

    def detect_each(self, pictures: Sequence[np.ndarray]) -> list[list[DetectedFace]]:
        """`detect` of several pictures: 16 at once take a tenth less time than one by one."""
        for rgb in pictures:
            if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
                raise ValueError(f"Expected an RGB picture (h, w, 3) of uint8, got {rgb.shape} of {rgb.dtype}")
            if max(rgb.shape) > _MOST_SIDE:
                height, width = rgb.shape[:2]
                raise ValueError(
                    f"A picture of {width} x {height} pixels: expected at most {_MOST_SIDE} a side; shrink it"
                )
        if self._graph is None:
            raise ValueError("FaceLandmarker is not open: use it in a `with` statement")
        found = self._graph.detect_each([np.ascontiguousarray(rgb) for rgb in pictures])
        return [sorted(faces, key=lambda face: face.box.area, reverse=True) for faces in found]

    def detect_small(self, rgb: np.ndarray, near: FractionBox | None = None) -> list[DetectedFace]:
        """`detect`, then, when it finds nothing, parts of the picture: around `near` (fractions, for instance the last
        known box) and on overlapping square tiles. Faces come back in fractions of the whole picture.

        A picture without a face costs about 20 detections.
        """
        faces = self.detect(rgb)
        if faces:
            return faces
        if near is not None and (faces := self.detect_around(rgb, near)):
            return faces
        for level in _TILE_LEVELS:
            if found := self._detect_in_tiles(rgb, level):
                return _distinct(found)[: self.max_faces]
        return []

    def detect_all(self, rgb: np.ndarray) -> list[DetectedFace]:
        """Faces of every size, also small ones beside a large one, largest first: `detect` and about 20 more of it."""
        faces = self.detect(rgb)
        for level in _TILE_LEVELS:
            for face in self._detect_in_tiles(rgb, level):
                # part of a face that is known may look like another one inside it
                if not any(_centre_inside(face.box, known.box) for known in faces):
                    faces.append(face)
        return _distinct(faces)[: self.max_faces]

    def _detect_in_tiles(self, rgb: np.ndarray, level: int) -> list[DetectedFace]:
        found: list[DetectedFace] = []
        for left, top, side in _tiles(rgb.shape[0], rgb.shape[1], level):
            found += self._detect_part(rgb, left, top, side)
        # a face cut by its tile's edge is found badly: look again with the face in the middle
        return [around[0] for face in _distinct(found) if (around := self.detect_around(rgb, face.box))]

    def detect_around(self, rgb: np.ndarray, box: FractionBox) -> list[DetectedFace]:
        """Faces in a square crop around `box`; the one that overlaps it most comes first."""
        height, width = rgb.shape[:2]
        left, right, top, bottom = box[0] * width, box[2] * width, box[1] * height, box[3] * height
        side = round(max(right - left, bottom - top) * (1 + 2 * _CROP_MARGIN))
        side = max(side, 8)
        corner = round((left + right - side) / 2), round((top + bottom - side) / 2)
        faces = self._detect_part(rgb, *corner, side)
        return sorted(faces, key=lambda face: overlap(face.box, box), reverse=True)

    def _detect_part(self, rgb: np.ndarray, left: int, top: int, side: int) -> list[DetectedFace]:
        """Faces in the part of the square that lies inside the picture, in fractions of the picture."""
        height, width = rgb.shape[:2]
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
        if x1 - x0 < 8 or y1 - y0 < 8:
            return []
        scale = np.array([(x1 - x0) / width, (y1 - y0) / height, (x1 - x0) / width], np.float32)
        offset = np.array([x0 / width, y0 / height, 0.0], np.float32)
        faces = self.detect(rgb[y0:y1, x0:x1])
        return [replace(face, points=face.points * scale + offset) for face in faces]


def _centre_inside(inner: FractionBox, outer: FractionBox) -> bool:
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return outer[0] < x < outer[2] and outer[1] < y < outer[3]


def _tiles(height: int, width: int, level: int) -> Iterator[tuple[int, int, int]]:
    """Squares (left, top, side) of 1/level of the longer side, covering the picture with half a tile of overlap."""
    side = min(max(height, width) // level, height, width)
    for top in tile_starts(height, side, side // 2):
        for left in tile_starts(width, side, side // 2):
            yield left, top, side


def tile_starts(length: int, side: int, step: int) -> list[int]:
    """Where tiles of `side` begin that cover a length from end to end, evenly and at most `step` (at least 1) apart."""
    count = 1 + -(-(length - side) // max(step, 1))
    return [round(i * (length - side) / max(count - 1, 1)) for i in range(count)]


def _distinct(faces: list[DetectedFace]) -> list[DetectedFace]:
    return [faces[place] for place in distinct([face.box for face in faces])]
