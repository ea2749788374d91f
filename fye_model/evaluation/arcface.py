"""Whose face it is, by ArcFace (Deng et al. 2019): the cosine of two embeddings. Weights: `weights.py`.

The face is laid on InsightFace's five places in a square of 112 pixels: middles of the eyes, tip of the nose, corners
of the mouth, taken from our own landmarks, because two detectors would disagree about which face is meant. Two models:
IResNet50 (pack buffalo_l) and IResNet100 (antelopev2). Their numbers are not comparable with each other.

Faces that were seen before are remembered: the truth's are held against every method, the repeated reference's are one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from fye_model.evaluation import extra
from fye_model.evaluation.alignment import aligned
from fye_model.evaluation.compare import Comparison
from fye_model.evaluation.faces import FaceTrack
from fye_model.evaluation.identity import looked_at
from fye_model.evaluation.weights import lacking, weight_file

if TYPE_CHECKING:
    from fye_model.evaluation.graphs.iresnet import IResNet

Model = Literal["arcface", "arcface_r100"]
NO_FACE_COSINE = 0.0  # of a frame whose result has no face: as two strangers
SIDE_PX = 112
_REMEMBERED = 512  # faces; 30 MB
# Landmarks whose mean is: the eye on the left of a picture, the other, the nose's tip, mouth corners left and right.
_POINTS = ((33, 133), (263, 362), (1, 4), (61,), (291,))
_PLACES = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])


def lacks(model: Model) -> str | None:
    """Why nothing can be measured here; None where it can."""
    return lacking(model) or extra.lacking("onnx")


def to_truth(model: Model) -> Callable[[Comparison], np.ndarray]:
    """Cosine of result and truth on every frame that is looked at: (f,), NaN on the others and without the weights."""

    def frames(comparison: Comparison) -> np.ndarray:
        if lacks(model):
            return np.full(len(comparison), math.nan)
        looked = looked_at(comparison.comparable)
        theirs = embed(model, comparison.truth.frames, comparison.truth.faces, looked)
        return _cosines(model, comparison, theirs, looked)

    return frames


def to_portrait(model: Model) -> Callable[[Comparison], np.ndarray]:
    """Cosine of result and portrait likewise; NaN where no portrait or no face in it is known."""

    def frames(comparison: Comparison) -> np.ndarray:
        portrait = comparison.portrait_face
        if lacks(model) or portrait is None:
            return np.full(len(comparison), math.nan)
        theirs = embed(model, *portrait, np.ones(1, bool))
        return _cosines(model, comparison, theirs, looked_at(comparison.comparable))

    return frames


def embed(model: Model, frames: np.ndarray, faces: FaceTrack, where: np.ndarray) -> np.ndarray:
    """The faces of the frames `where` (f,) bool: (f, h, w, 3) uint8 -> (f, 512) of length one; NaN elsewhere."""
    from fye_model.evaluation.graphs.iresnet import NUMBERS

    path = weight_file(model)
    numbers = np.full((len(frames), NUMBERS), np.nan)
    for frame in np.flatnonzero(where & faces.found):
        numbers[frame] = _numbers(path, face_square(frames[frame], faces.pixels[frame]).tobytes())
    return numbers


def face_square(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face as ArcFace knows it: picture (h, w, 3) uint8, points (478, 2) in pixels -> (112, 112, 3) uint8."""
    five = np.stack([points[list(part)].mean(axis=0) for part in _POINTS]) - 0.5  # a pixel's middle is a whole number
    return aligned(picture, five, _PLACES, SIDE_PX)


def _cosines(model: Model, comparison: Comparison, theirs: np.ndarray, looked: np.ndarray) -> np.ndarray:
    cosines = (embed(model, comparison.result, comparison.faces, looked) * theirs).sum(axis=1)
    return np.where(looked & comparison.lost, NO_FACE_COSINE, cosines)


@lru_cache(maxsize=_REMEMBERED)
def _numbers(path: Path, square: bytes) -> tuple[float, ...]:
    from fye_model.evaluation.graphs.iresnet import embeddings

    face = np.frombuffer(square, np.uint8).reshape(1, SIDE_PX, SIDE_PX, 3)
    return tuple(embeddings(_network(path), face)[0])


@cache
def _network(path: Path) -> IResNet:
    from fye_model.evaluation.graphs.iresnet import read_iresnet

    return read_iresnet(path)
