"""What a driving video shows, as words: expressions by blendshapes, head motion by pose, gaze by both.

A tag is given when its activity lasts: `LASTING` frames in a row at or above its threshold (a blink: any frame). The
blendshapes have no tongue, so `tongue` is never given from them; who sees one says so by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fye_model.evaluation.faces import FaceTrack
from fye_model.landmarks.blendshapes import shape
from fye_model.landmarks.geometry import euler_deg

LASTING = 3


@dataclass(frozen=True)
class Seen:
    """A face over time: blendshapes (f, 52), None where the landmark model has none; angles (f, 3) in degrees."""

    shapes: np.ndarray | None
    angles: np.ndarray

    def both(self, name: str) -> np.ndarray:
        """The smaller of a shape's left and right value, (f,)."""
        left, right = self._sides(name)
        return np.asarray(np.minimum(left, right))

    def apart(self, name: str) -> np.ndarray:
        """How much a shape's left and right value differ, (f,)."""
        left, right = self._sides(name)
        return np.asarray(np.abs(left - right))

    def one(self, name: str) -> np.ndarray:
        """A shape's value, (f,); NaN without a face."""
        if self.shapes is None:
            return np.full(len(self.angles), np.nan)
        return np.asarray(shape(self.shapes, name))

    def _sides(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self.one(f"{name}Left"), self.one(f"{name}Right")

    def turned(self, axis: int) -> np.ndarray:
        """Pitch (0), yaw (1) or roll (2) away from its middle over the video, in degrees without sign, (f,)."""
        values = self.angles[:, axis]
        there = np.isfinite(values)
        return np.abs(values - np.median(values[there])) if there.any() else values


@dataclass(frozen=True)
class Tag:
    """A word, what it says, and from what activity on it is given. shapes: it is read in blendshapes."""

    name: str
    text: str
    read: Callable[[Seen], np.ndarray]
    threshold: float
    lasting: int = LASTING
    shapes: bool = True


TAGS: tuple[Tag, ...] = (
    Tag("frown", "both brows lowered (browDown)", lambda seen: seen.both("browDown"), 0.5),
    Tag("raised_brows", "inner brows raised (browInnerUp)", lambda seen: seen.one("browInnerUp"), 0.5),
    Tag("crossed_eyes", "both eyes turned to the nose (eyeLookIn)", lambda seen: seen.both("eyeLookIn"), 0.35),
    Tag(
        "gaze",
        "both eyes far to one side (eyeLookOut of one, eyeLookIn of the other)",
        lambda seen: np.maximum(
            np.minimum(seen.one("eyeLookOutLeft"), seen.one("eyeLookInRight")),
            np.minimum(seen.one("eyeLookOutRight"), seen.one("eyeLookInLeft")),
        ),
        0.5,
    ),
    Tag("blink", "both eyes shut (eyeBlink)", lambda seen: seen.both("eyeBlink"), 0.5, lasting=1),
    Tag("wink", "one eye shut, the other not (eyeBlink)", lambda seen: seen.apart("eyeBlink"), 0.45),
    Tag("wide_eyes", "both eyes wide open (eyeWide)", lambda seen: seen.both("eyeWide"), 0.3),
    Tag("open_mouth", "jaw dropped (jawOpen)", lambda seen: seen.one("jawOpen"), 0.35),
    Tag("pout", "lips pushed out (mouthPucker)", lambda seen: seen.one("mouthPucker"), 0.8),
    Tag("smile", "both lip corners up (mouthSmile)", lambda seen: seen.both("mouthSmile"), 0.5),
    Tag("lips_in", "lips rolled in (mouthRollLower, mouthRollUpper)", lambda seen: _rolled(seen), 0.5),
    Tag("large_pitch", "nods 12 degrees or more", lambda seen: seen.turned(0), 12.0, shapes=False),
    Tag("large_yaw", "turns 15 degrees or more", lambda seen: seen.turned(1), 15.0, shapes=False),
    Tag("large_roll", "tilts 12 degrees or more", lambda seen: seen.turned(2), 12.0, shapes=False),
)
BY_HAND: dict[str, str] = {"tongue": "the tongue is out; no blendshape tells it, so it is written by hand"}


def see(track: FaceTrack) -> Seen:
    """What tags are read from."""
    angles = np.full((len(track), 3), np.nan)
    if track.found.any():
        angles[track.found] = euler_deg(track.matrix[track.found])
    return Seen(track.blendshapes, angles)


def tags_of(seen: Seen) -> tuple[str, ...]:
    """The tags of a video, in the table's order."""
    return tuple(tag.name for tag in TAGS if _lasts(tag.read(seen) >= tag.threshold, tag.lasting))


def largest_angles(seen: Seen) -> tuple[float, float, float]:
    """Largest pitch, yaw and roll to either side, in degrees; 0 where no frame shows a face."""
    there = np.isfinite(seen.angles).all(axis=1)
    if not there.any():
        return 0.0, 0.0, 0.0
    pitch, yaw, roll = np.abs(seen.angles[there]).max(axis=0)
    return float(pitch), float(yaw), float(roll)


def _rolled(seen: Seen) -> np.ndarray:
    return np.asarray(np.minimum(seen.one("mouthRollLower"), seen.one("mouthRollUpper")))


def _lasts(active: np.ndarray, frames: int) -> bool:
    """Whether some run of true values is at least so long."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(int)))
    return bool((edges[1::2] - edges[::2] >= frames).any())
