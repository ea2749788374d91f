"""What a face can be seen doing: expressions, head poses and directions of gaze, each a number a frame and a threshold.

Expressions are read from the blendshapes, with thresholds set on real clips by looking. The blendshape for hanging
corners of the mouth hardly moves, so the raised chin that goes with them is read. Two expressions cannot be told at all
(`told`): their blendshapes are silent. The eighteen expressions bear the names of `datasets/captured/expressions.txt`.
Left and right are the subject's. Thresholds are ours; no paper gives any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from fye_model.landmarks.blendshapes import both, gaze_direction, shape
from fye_model.landmarks.geometry import euler_deg
from fye_model.landmarks.table import read_motion

Group = Literal["expression", "pose", "gaze"]
LEAST_S = 0.2  # what flickers for less is no expression
GAZE_CENTRE = 0.35  # blendshape units; the eyes look straight below it
FRONTAL_DEG, PROFILE_DEG = 20.0, 45.0
PITCHED_DEG, TILTED_DEG = 15.0, 15.0


@dataclass(frozen=True)
class SeenFace:
    """The valid frames of a clip. shapes: (f, 52), None where the landmark model has none; angles: (f, 3) degrees of
    pitch, yaw and roll."""

    shapes: np.ndarray | None
    angles: np.ndarray
    fps: float

    @classmethod
    def read(cls, path: str | Path) -> SeenFace:
        """The face of a landmark table, whose frames without a face are left out. ValueError without poses."""
        matrix, shapes, valid, fps = read_motion(path)
        if matrix is None:
            raise ValueError(f"{path}: has no head poses, so none can be told; delete it, and a run makes it anew")
        angles = euler_deg(matrix[valid]) if valid.any() else np.zeros((0, 3))
        return cls(None if shapes is None else shapes[valid], angles, fps)

    @cached_property
    def gaze(self) -> np.ndarray:
        """(f, 2), see `gaze_direction`."""
        assert self.shapes is not None
        return gaze_direction(self.shapes)


@dataclass(frozen=True)
class Aspect:
    """Something that a face can do; the angle in a pose's label is the least one.

    `read` gives a number a frame; it is done where that is at least `at_least` for `least_s` seconds on end. `told`:
    whether anything can be read of it; `by_shapes`: whether from blendshapes.
    """

    name: str
    group: Group
    label: str
    at_least: float
    read: Callable[[SeenFace], np.ndarray]
    least_s: float = LEAST_S
    told: bool = True
    by_shapes: bool = True

    def readable(self, face: SeenFace) -> bool:
        """Whether it can be told of this face, with what its landmark model gives."""
        return self.told and (face.shapes is not None or not self.by_shapes)

    def strongest(self, face: SeenFace) -> float:
        """The highest value that is held for `least_s`; 0 for a face without frames."""
        values, length = self.read(face), self._frames(face)
        if len(values) < length:
            return 0.0
        held = np.lib.stride_tricks.sliding_window_view(values, length).min(axis=1)
        return float(max(held.max(), 0.0))

    def seconds(self, face: SeenFace) -> float:
        """How long the face does it in all, stretches shorter than `least_s` left out."""
        done = self.read(face) >= self.at_least
        edges = np.flatnonzero(np.diff(np.concatenate([[False], done, [False]]).astype(np.int8)))
        lengths = edges[1::2] - edges[::2]
        return float(lengths[lengths >= self._frames(face)].sum() / face.fps)

    def _frames(self, face: SeenFace) -> int:
        return max(1, round(self.least_s * face.fps))


def _shapes(read: Callable[[np.ndarray], np.ndarray]) -> Callable[[SeenFace], np.ndarray]:
    def of(face: SeenFace) -> np.ndarray:
        assert face.shapes is not None
        return np.asarray(read(face.shapes))

    return of


def _difference(one: str, other: str) -> Callable[[SeenFace], np.ndarray]:
    return _shapes(lambda shapes: shape(shapes, one) - shape(shapes, other))


def _nothing(face: SeenFace) -> np.ndarray:
    return np.zeros(len(face.angles))


def _look_around(face: SeenFace) -> np.ndarray:
    """In frames where the eyes look aside: the share of the four directions that the clip has."""
    aside = [sign * face.gaze[:, axis] >= GAZE_CENTRE for axis in (0, 1) for sign in (1, -1)]
    had = sum(bool(frames.any()) for frames in aside) / len(aside)
    return np.asarray(np.where(np.any(aside, axis=0), had, 0.0))


def _expression(
    name: str, at_least: float, read: Callable[[np.ndarray], np.ndarray], least_s: float = LEAST_S
) -> Aspect:
    return Aspect(name, "expression", name.replace("_", " "), at_least, _shapes(read), least_s)


def _silent(name: str) -> Aspect:
    return Aspect(name, "expression", name.replace("_", " "), 1.0, _nothing, told=False)


def _pose(name: str, label: str, at_least: float, read: Callable[[np.ndarray], np.ndarray]) -> Aspect:
    return Aspect(name, "pose", label, at_least, lambda face: np.asarray(read(face.angles)), by_shapes=False)


def _gaze(name: str, direction: tuple[int, int]) -> Aspect:
    """Eyes in this direction: along it at least `GAZE_CENTRE`, and no further across it than a diagonal needs."""

    def read(face: SeenFace) -> np.ndarray:
        wanted = [sign * face.gaze[:, axis] for axis, sign in enumerate(direction) if sign]
        others = [2 * GAZE_CENTRE - np.abs(face.gaze[:, axis]) for axis, sign in enumerate(direction) if not sign]
        return np.asarray(np.min([*wanted, *others], axis=0))

    return Aspect(f"gaze_{name}", "gaze", f"eyes {name.replace('_', ' ')}", GAZE_CENTRE, read)


EXPRESSIONS: tuple[Aspect, ...] = (
    _expression("frown", 0.5, lambda s: both(s, "browDown")),
    _expression("crossed_eyes", 0.5, lambda s: both(s, "eyeLookIn")),
    _expression("pout", 0.8, lambda s: np.minimum(shape(s, "mouthPucker"), 1 - shape(s, "jawOpen"))),
    _expression("brows_raised", 0.5, lambda s: np.minimum(both(s, "browOuterUp"), shape(s, "browInnerUp"))),
    _expression("one_brow_raised", 0.3, lambda s: np.abs(shape(s, "browOuterUpLeft") - shape(s, "browOuterUpRight"))),
    _expression("eyes_wide", 0.3, lambda s: both(s, "eyeWide")),
    _expression("eyes_shut", 0.5, lambda s: both(s, "eyeBlink"), 0.4),
    _expression("squint", 0.55, lambda s: np.minimum(both(s, "eyeSquint"), 1 - both(s, "eyeBlink"))),
    Aspect("wink_left", "expression", "wink left", 0.4, _difference("eyeBlinkLeft", "eyeBlinkRight"), 0.12),
    Aspect("wink_right", "expression", "wink right", 0.4, _difference("eyeBlinkRight", "eyeBlinkLeft"), 0.12),
    Aspect("look_around", "expression", "look around", 0.75, _look_around),
    _expression("mouth_wide_open", 0.6, lambda s: shape(s, "jawOpen")),
    _expression("grin", 0.6, lambda s: both(s, "mouthSmile")),
    _expression(
        "mouth_corners_down", 0.3, lambda s: np.minimum(shape(s, "mouthShrugLower"), 1 - both(s, "mouthSmile"))
    ),
    Aspect("mouth_left", "expression", "mouth left", 0.4, _difference("mouthLeft", "mouthRight")),
    Aspect("mouth_right", "expression", "mouth right", 0.4, _difference("mouthRight", "mouthLeft")),
    _silent("cheeks_puffed"),
    _silent("nose_wrinkled"),
)
POSES: tuple[Aspect, ...] = (
    _pose(
        "frontal", "frontal", 0.0, lambda a: np.minimum(FRONTAL_DEG - np.abs(a[:, 1]), PITCHED_DEG - np.abs(a[:, 0]))
    ),
    _pose("turned_left", "turned left 20°", FRONTAL_DEG, lambda a: a[:, 1]),
    _pose("turned_right", "turned right 20°", FRONTAL_DEG, lambda a: -a[:, 1]),
    _pose("profile_left", "turned left 45°", PROFILE_DEG, lambda a: a[:, 1]),
    _pose("profile_right", "turned right 45°", PROFILE_DEG, lambda a: -a[:, 1]),
    _pose("up", "head up 15°", PITCHED_DEG, lambda a: -a[:, 0]),
    _pose("down", "head down 15°", PITCHED_DEG, lambda a: a[:, 0]),
    _pose("tilted_left", "tilted left 15°", TILTED_DEG, lambda a: -a[:, 2]),
    _pose("tilted_right", "tilted right 15°", TILTED_DEG, lambda a: a[:, 2]),
)
GAZES: tuple[Aspect, ...] = (
    _gaze("left", (1, 0)),
    _gaze("right", (-1, 0)),
    _gaze("up", (0, 1)),
    _gaze("down", (0, -1)),
    _gaze("up_left", (1, 1)),
    _gaze("up_right", (-1, 1)),
    _gaze("down_left", (1, -1)),
    _gaze("down_right", (-1, -1)),
)
ASPECTS = EXPRESSIONS + POSES + GAZES
