"""MediaPipe's Face Landmarker without its graph: the three models of its bundle, run one after the other.

The graph spends a third of its time beside its models: on a copy of the picture, on two general warps of it, on queues
between threads and on a list of objects for each result. Here the models run in this thread by the interpreter that
MediaPipe itself is built on, between the same steps in NumPy: find faces in the whole picture, cut each out upright,
find its points, put them back, and read the expression off them. Steps, constants and roundings are those of IMAGE
mode, pixels are sampled by the same fixed-point rule, so that landmarks are the graph's: see `docs/data.md` for how
equal.
"""

from __future__ import annotations

import math
import threading
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.table import BLENDSHAPES
from tasks.faces.detected import DetectedFace
from tasks.faces.native import SYSTEM_PACKAGES, without_notices

FACES, POINTS, EXPRESSION = "face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite"
_FACE_SIDE, _POINT_SIDE = 128, 256  # pixels of the pictures that the models look at
_GRID = ((16, 2), (8, 6))  # cells a side, and boxes in each, in the order of the face model's 896 rows
_ALONE = 0.5  # overlap beyond which two boxes are one face
_LEAST = 0.5  # score of a box, and presence of a face in what was cut out
_AROUND = 1.5  # the part cut out, over the box
_BLOCK = 64  # columns that OpenCV's warp works on at one time
_STEPS = 32  # positions between two pixels, of OpenCV's fixed-point sampling
# the points from which the expression is read, in the order that its model wants
_EXPRESSION_POINTS = np.array(
    [
        *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70),
        *(78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149),
        *(150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195),
        *(197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300),
        *(308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375),
        *(377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454),
        *(466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477),
    ]
)


class Upright(NamedTuple):
    """A part of a picture: a rectangle around (x, y), turned by an angle. In pixels and radians."""

    x: float
    y: float
    width: float
    height: float
    angle: float


class _Places(NamedTuple):
    """Where a picture is sampled: pixels (side, side, 2) int16, x and y, and `between` (side, side) uint16, how many of
    the 32 steps to the next pixel, in x and 32 times those in y."""

    pixels: np.ndarray
    between: np.ndarray


class FaceModels:
    """The open models of a bundle; finds up to `max_faces` faces, with `blendshapes` if asked for.

    Threads may share it; one is served at a time by each model.

    Raises ValueError for a bundle that is damaged, or has other models than those of `face_landmarker.task`.
    """

    def __init__(self, asset: Path, max_faces: int, blendshapes: bool) -> None:
        _load_opencv()
        self.max_faces = max_faces
        with zipfile.ZipFile(asset) as bundle:
            pixels, rows = (1, _FACE_SIDE, _FACE_SIDE, 3), sum(cells**2 * boxes for cells, boxes in _GRID)
            self._faces = _Model(asset, bundle, FACES, pixels, (rows * 16, rows))
            pixels = (1, _POINT_SIDE, _POINT_SIDE, 3)
            self._points = _Model(asset, bundle, POINTS, pixels, (topology.POINTS * 3, 1))
            self._expression: _Model | None = None
            if blendshapes:
                chosen = (1, len(_EXPRESSION_POINTS), 2)
                self._expression = _Model(asset, bundle, EXPRESSION, chosen, (BLENDSHAPES,))
        self._anchors = _anchors()

    def close(self) -> None:
        """Nothing: the models hold nothing but memory."""

    def detect(self, rgb: np.ndarray) -> list[DetectedFace]:
        """Faces in `rgb` (h, w, 3) uint8, the surest first."""
        return self.detect_each([rgb])[0]

    def detect_each(self, pictures: Sequence[np.ndarray]) -> list[list[DetectedFace]]:
        """Faces in each of some pictures (h, w, 3) uint8, the surest first.

        Each model sees all pictures before the next model sees any, so that its weights stay in the processor's cache.
        """
        parts = [self._parts(rgb) for rgb in pictures]
        found = [[self._points_in(rgb, part) for part in there] for rgb, there in zip(pictures, parts, strict=True)]
        return [
            [DetectedFace(points, self._shapes(rgb, points)) for points in there if points is not None]
            for rgb, there in zip(pictures, found, strict=True)
        ]

    def _parts(self, rgb: np.ndarray) -> list[Upright]:
        """Where faces are, the surest first."""
        height, width = rgb.shape[:2]
        side = max(height, width)
        seen = _sample(rgb, _whole(height, width), beyond="black")
        rows, logits = self._faces(seen * np.float32(2 / 255) - np.float32(1))
        shift = (width - side) / 2, (height - side) / 2
        found = _distinct(rows.reshape(-1, 16), logits.ravel(), self._anchors)
        return [_upright(corners * side + shift) for corners in found[: self.max_faces]]

    def _points_in(self, rgb: np.ndarray, part: Upright) -> np.ndarray | None:
        """The face in a part of the picture, (478, 3) float32, or None where on a closer look there is none."""
        height, width = rgb.shape[:2]
        seen = _sample(rgb, _places(part, _POINT_SIDE), beyond="edge")
        raw, logit = self._points(seen * np.float32(1 / 255))
        if _sigmoid(logit.item()) < _LEAST:
            return None
        x, y, z = (raw.reshape(-1, 3) / _POINT_SIDE).astype(np.float64).T
        x, y = (x - 0.5) * part.width, (y - 0.5) * part.height
        cos, sin = math.cos(part.angle), math.sin(part.angle)
        depth = part.width * math.hypot(cos / width, sin / height)
        points = np.empty((topology.POINTS, 3), np.float32)
        points[:, 0] = (x * cos - y * sin + part.x) / width
        points[:, 1] = (x * sin + y * cos + part.y) / height
        points[:, 2] = z * depth
        return points

    def _shapes(self, rgb: np.ndarray, points: np.ndarray) -> np.ndarray | None:
        """What a face (478, 3) in a picture expresses, (52,) float32."""
        if self._expression is None:
            return None
        height, width = rgb.shape[:2]
        (shapes,) = self._expression(points[_EXPRESSION_POINTS, :2] * np.array([width, height], np.float32))
        return shapes


class _Model:
    """One model of a bundle as a function of one array: gives its first outputs, copied, in their order.

    takes: the shape of its input; gives: the sizes of those outputs; all of them float32.
    """

    def __init__(
        self, asset: Path, bundle: zipfile.ZipFile, name: str, takes: tuple[int, ...], gives: tuple[int, ...]
    ) -> None:
        self._interpreter = _interpreter(asset, bundle, name)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()[: len(gives)]
        found = (
            [tuple(one["shape"].tolist()) for one in inputs],
            tuple(int(np.prod(one["shape"])) for one in outputs),
            sorted({np.dtype(one["dtype"]).name for one in (*inputs, *outputs)}),
        )
        if found != (expected := ([takes], gives, ["float32"])):
            raise ValueError(f"{asset}: {name} takes and gives {found}, expected {expected}: another model")
        self._takes, self._input = takes, inputs[0]["index"]
        self._outputs = [output["index"] for output in outputs]
        self._turn = threading.Lock()  # an interpreter that is at work must not be given anything else

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        with self._turn:
            self._interpreter.set_tensor(self._input, values.reshape(self._takes))
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._outputs]


def _interpreter(asset: Path, bundle: zipfile.ZipFile, name: str) -> Any:
    """A model of a bundle, ready to be given something."""
    from ai_edge_litert.interpreter import Interpreter  # only who looks for faces needs it

    try:
        content = bundle.read(name)
        with without_notices():
            interpreter = Interpreter(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
    except KeyError as error:
        raise ValueError(f"{asset}: holds no {name}; expected MediaPipe's face_landmarker.task") from error
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{asset}: {name} is damaged ({error}); fetch MediaPipe's face_landmarker.task again"
        ) from error
    return interpreter


def _load_opencv() -> None:
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise OSError(f"OpenCV does not load on this system ({error}). {SYSTEM_PACKAGES}") from error


def _anchors() -> np.ndarray:
    """(896, 2): centres of the cells to which the face model's rows belong, as fractions of its picture."""
    layers = []
    for cells, boxes in _GRID:
        centres = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centres, centres, indexing="ij")
        layers.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), boxes, axis=0))
    return np.concatenate(layers)


def _sigmoid(logits: np.ndarray | float) -> np.ndarray:
    """In single precision, as the graph has it."""
    return np.asarray(1 / (1 + np.exp(-np.float64(logits)))).astype(np.float32)


def _distinct(rows: np.ndarray, logits: np.ndarray, anchors: np.ndarray) -> list[np.ndarray]:
    """The faces among the face model's rows, the surest first: (4, 2) each, two corners of its box and both eyes.

    Boxes that overlap are one face, and it is their mean, weighted by their scores.
    """
    likely = np.flatnonzero(logits > -1)
    scores = _sigmoid(logits[likely])
    likely, scores = likely[scores >= _LEAST], scores[scores >= _LEAST]
    values = rows[likely, :8].reshape(-1, 4, 2).astype(np.float64) / _FACE_SIDE  # centre, size and the eyes
    values[:, [0, 2, 3]] += anchors[likely, None]
    centre, half = values[:, 0], values[:, 1] / 2
    corners = np.stack([centre - half, centre + half, values[:, 2], values[:, 3]], axis=1)
    rest = np.argsort(-scores, kind="stable")
    rest = rest[(half[rest] > 0).all(axis=1)]
    found = []
    while rest.size:
        same = _overlaps(corners[rest], corners[rest[0]]) > _ALONE
        group, rest = rest[same], rest[~same]
        found.append(np.average(corners[group], axis=0, weights=scores[group]))
    return found


def _overlaps(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes with one: (n, 4, 2) and (4, 2), corners in the first two rows -> (n,)."""
    sizes = np.minimum(boxes[:, 1], box[1]) - np.maximum(boxes[:, 0], box[0])
    shared = np.maximum(sizes, 0).prod(axis=1)
    areas = (boxes[:, 1] - boxes[:, 0]).prod(axis=1) + (box[1] - box[0]).prod()
    return np.asarray(shared / (areas - shared))


def _upright(corners: np.ndarray) -> Upright:
    """The part around a face: two corners of its box and its eyes, (4, 2) pixels. Its eyes are level in it."""
    (left, top), (right, bottom), (x0, y0), (x1, y1) = corners.tolist()
    size = (right - left) * _AROUND, (bottom - top) * _AROUND
    return Upright((left + right) / 2, (top + bottom) / 2, *size, math.atan2(y1 - y0, x1 - x0))


def _sample(rgb: np.ndarray, places: _Places, *, beyond: str) -> np.ndarray:
    """A picture at these places, (side, side, 3) uint8; beyond its edge it is `black`, or goes on as at its `edge`."""
    import cv2

    border = cv2.BORDER_CONSTANT if beyond == "black" else cv2.BORDER_REPLICATE
    return np.asarray(cv2.remap(rgb, places.pixels, places.between, cv2.INTER_LINEAR, borderMode=border))


@lru_cache(maxsize=16)
def _whole(height: int, width: int) -> _Places:
    """The places of a whole picture as the face model looks at it, in the middle of a square."""
    longer = max(height, width)
    return _places(Upright(width / 2, height / 2, longer, longer, 0.0), _FACE_SIDE)


def _places(part: Upright, side: int) -> _Places:
    """Where a part of a picture is sampled, side x side times.

    Bilinear, at 32 positions between two pixels: what OpenCV's fixed-point warp gave, whatever its version does today.
    """
    back = _back(part, side)
    columns, rows = _BLOCK * np.arange(side // _BLOCK), np.arange(side)[:, None]
    within = np.arange(_BLOCK, dtype=np.float64)
    blocks = [back[axis, 0] * columns + back[axis, 1] * rows + back[axis, 2] for axis in range(3)]
    scale = _STEPS / (blocks[2][..., None] + back[2, 0] * within)
    pixels = np.empty((side, side, 2), np.int16)
    between = np.zeros((side, side), np.int32)
    for axis, weight in ((0, 1), (1, _STEPS)):
        exact = blocks[axis][..., None] + back[axis, 0] * within
        exact *= scale
        place = np.rint(exact, out=exact).astype(np.int32).reshape(side, side)
        pixels[..., axis] = place >> 5
        between += (place & (_STEPS - 1)) * weight
    return _Places(pixels, between.astype(np.uint16))


def _back(part: Upright, side: int) -> np.ndarray:
    """(3, 3): pixels of what is sampled to pixels of the picture.

    By the graph's detour over corners in single precision. Where a picture's side puts many pixels exactly between two
    positions, as 426 does, the last bits of this decide to which they go, and that moves a face by up to 5% of the
    distance between its eyes.
    """
    import cv2

    half = np.float32(0.5)
    x, y, width, height, angle = np.array(part, np.float32)
    turned = math.radians(float(np.float32(float(angle * np.float32(180)) / math.pi)))
    cos, sin = np.float32(math.cos(turned)) * half, np.float32(math.sin(turned)) * half
    corners = [
        (x - sin * height - cos * width, y + cos * height - sin * width),
        (x + sin * height - cos * width, y - cos * height - sin * width),
    ]
    corners += [(2 * x - corner[0], 2 * y - corner[1]) for corner in corners]
    onto = np.array([(0, side), (0, 0), (side, 0), (side, side)], np.float32)
    return np.asarray(cv2.invert(cv2.getPerspectiveTransform(np.array(corners, np.float32), onto))[1])
