"""Faces in one picture: MediaPipe's Face Landmarker behind plain arrays, safe to close and to retry.

IMAGE mode only: VIDEO mode is low-pass filtered, lags and damps blinks. The landmarker lives inside a `with`, because
one that the garbage collector frees can hang the process, and it must be made after a fork, never before.
"""

from __future__ import annotations

import ctypes
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.boxes import FractionBox, distinct, fraction_box, overlap
from fye_model.landmarks.table import BLENDSHAPES
from tasks.faces.native import without_notices

_GEOMETRY = "geometry_pipeline_metadata_landmarks.binarypb"
_BLENDSHAPE_MODEL = "face_blendshapes.tflite"
_TILE_LEVELS = (2, 3)  # tiles of 1/2, then 1/3 of the longer side: faces down to about 5% of it
_CROP_MARGIN = 0.75  # around a found face, each side, as a fraction of its longer side: it then fills 40% of the crop

SYSTEM_PACKAGES = "Debian and Ubuntu: apt-get install libgl1 libglib2.0-0 libgles2 libegl1"

log = logging.getLogger(__name__)


def load_library() -> None:
    """Load MediaPipe's own library. Raises OSError that says what this system lacks, and how to get it."""
    from mediapipe.tasks.python.core.mediapipe_c_bindings import load_raw_library

    try:
        load_raw_library()
    except OSError as error:
        raise OSError(f"MediaPipe does not load on this system ({error}). {SYSTEM_PACKAGES}") from error


@dataclass(frozen=True)
class DetectedFace:
    """One face.

    points: (478, 3) float32, x and y as fractions of the picture's width and height, z in the unit of x.
    matrix: (4, 4) float32, canonical centimetres to camera; None where the model has no face geometry, or where the
    face was found on a part of the picture (the matrix would belong to that part's camera).
    blendshapes: (52,) float32 in MediaPipe's order; None where the model has none.
    """

    points: np.ndarray
    matrix: np.ndarray | None
    blendshapes: np.ndarray | None

    @cached_property
    def box(self) -> FractionBox:
        """Around the points."""
        return fraction_box(self.points)


class FaceLandmarker:
    """Context manager around one landmarker; `model` is the id that goes with everything it measures.

    Finds up to `max_faces` faces. The full-frame detector needs faces of about 12-15% of the longer side;
    `detect_small` goes on with parts of the picture when it finds none. `points_only`: matrix and blendshapes are None.
    """

    def __init__(self, asset: Path, model: str, max_faces: int = 1, points_only: bool = False) -> None:
        if not Path(asset).is_file():
            raise ValueError(
                f"No landmark model at {asset}: expected MediaPipe's face_landmarker.task; "
                "give its folder as FYE_ASSETS=FOLDER"
            )
        with zipfile.ZipFile(asset) as bundle:
            parts = set(bundle.namelist())
        self.asset = Path(asset)
        self.model = model
        self.max_faces = max_faces
        self.has_matrix = _GEOMETRY in parts and not points_only
        self.has_blendshapes = _BLENDSHAPE_MODEL in parts and not points_only
        self._landmarker: Any = None

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the landmarker; safe to call twice."""
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
        from mediapipe.tasks.python import BaseOptions, vision  # 2 s to import, and nobody but the workers needs it

        load_library()
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self.asset)),
            running_mode=vision.RunningMode.IMAGE,
            num_faces=self.max_faces,
            output_face_blendshapes=self.has_blendshapes,
            output_facial_transformation_matrixes=self.has_matrix,
        )
        with without_notices():
            self._landmarker = vision.FaceLandmarker.create_from_options(options)

    def detect(self, rgb: np.ndarray) -> list[DetectedFace]:
        """Faces in `rgb` (h, w, 3) uint8, largest first.

        A graph that fails is replaced by a new one and asked once more; a second failure is the picture's.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise ValueError(f"Expected an RGB picture (h, w, 3) of uint8, got {rgb.shape} of {rgb.dtype}")
        if self._landmarker is None:
            raise ValueError("FaceLandmarker is not open: use it in a `with` statement")
        # MediaPipe ignores strides: a crop or a flipped view would be misread without a word
        rgb = np.ascontiguousarray(rgb)
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

        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=rgb)
        landmarker, found = self._landmarker, FaceLandmarkerResultC()
        landmarker._lib.MpFaceLandmarkerDetectImage(landmarker._handle, image._image_ptr, None, ctypes.byref(found))
        try:
            faces = [self._read(found, number) for number in range(found.face_landmarks_count)]
        finally:
            landmarker._lib.MpFaceLandmarkerCloseResult(ctypes.byref(found))
        return sorted(faces, key=lambda face: face.box.area, reverse=True)

    def _read(self, found: Any, number: int) -> DetectedFace:
        """One face of a result, copied."""
        landmarks = found.face_landmarks[number]
        points = np.stack(_fields(landmarks.landmarks, landmarks.landmarks_count, ("x", "y", "z")), axis=1)
        assert points.shape == (topology.POINTS, 3), points.shape
        matrix = shapes = None
        if self.has_matrix:
            matrix = np.array(found.facial_transformation_matrixes[number].to_numpy(), np.float32)
        if self.has_blendshapes:
            listed = found.face_blendshapes[number]
            index, score = _fields(listed.categories, listed.categories_count, ("index", "score"))
            shapes = np.zeros(BLENDSHAPES, np.float32)
            shapes[index.astype(int)] = score
        return DetectedFace(points, matrix, shapes)

    def detect_small(self, rgb: np.ndarray, near: FractionBox | None = None) -> list[DetectedFace]:
        """`detect`, then, when it finds nothing, parts of the picture: around `near` (fractions, for instance the last
        known box) and on overlapping square tiles. Faces come back in fractions of the whole picture, without matrix.

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
        return [replace(face, points=face.points * scale + offset, matrix=None) for face in faces]


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
