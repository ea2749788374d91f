"""Which head poses a model was trained on, and motion kept among them.

A model draws heads as it saw them. Beyond that it guesses: profiles melt, tilted heads grow a second chin. What the
clips showed is measured when a model is selected and kept in its folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from fye_model.config import Config, Positive
from fye_model.landmarks.geometry import euler_deg
from fye_model.landmarks.ranges import check_ordered, common_ends, kept_softly
from fye_model.landmarks.table import LandmarkSequence

ANGLES = ("pitch", "yaw", "roll")  # in the order and with the signs of `euler_deg`
_KNEE_DEG = 5.0  # motion slows down over the last degrees before a limit, so that it does not hit a wall
_FELT_DEG = 1.0  # a change smaller than this is not worth a word

Degrees = Annotated[float, Field(ge=-180, le=180)]


class TrainedPoses(Config):
    """From and to, degrees, of 99% of the training clips' frames (signs as `euler_deg`); frames: how many."""

    pitch_deg: tuple[Degrees, Degrees]
    yaw_deg: tuple[Degrees, Degrees]
    roll_deg: tuple[Degrees, Degrees]
    frames: Positive

    @model_validator(mode="after")
    def _ordered(self) -> TrainedPoses:
        check_ordered([f"{name}_deg" for name in ANGLES], self.ranges)
        return self

    @property
    def ranges(self) -> np.ndarray:
        """(3 angles, 2): from and to."""
        return np.array([self.pitch_deg, self.yaw_deg, self.roll_deg])


def measure_poses(clips: Iterable[LandmarkSequence]) -> TrainedPoses | None:
    """The poses of all frames in which a face was detected; None where no clip has a pose."""
    found = [
        euler_deg(clip.matrix[clip.valid & ~clip.interpolated])
        for clip in clips
        if clip.matrix is not None and len(clip)
    ]
    angles = np.concatenate(found) if found else np.empty((0, 3))
    angles = angles[np.isfinite(angles).all(axis=1)]
    if not len(angles):
        return None
    pitch, yaw, roll = ((float(low), float(high)) for low, high in common_ends(angles).round(1))
    return TrainedPoses(pitch_deg=pitch, yaw_deg=yaw, roll_deg=roll, frames=len(angles))


def keep_within(angles_deg: np.ndarray, own_deg: np.ndarray, poses: TrainedPoses) -> tuple[np.ndarray, list[str]]:
    """Angles (f, 3) brought into the trained range, and a sentence for each of the three that was changed.

    own_deg: (3,) the portrait's own pose, which always stays possible: a portrait beyond the range would otherwise
    jump in its first frame. Angles well inside are untouched.
    """
    low = np.minimum(poses.ranges[:, 0], own_deg)
    high = np.maximum(poses.ranges[:, 1], own_deg)
    knee = np.minimum(_KNEE_DEG, (high - low) / 4)
    kept = kept_softly(angles_deg, own_deg, low, high, knee)
    return kept, _told(angles_deg, kept, low, high)


def _told(wanted: np.ndarray, kept: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[str]:
    lines = []
    for index, name in enumerate(ANGLES):
        changed = np.abs(wanted[:, index] - kept[:, index]) > _FELT_DEG
        if changed.any():
            furthest = wanted[np.nanargmax(np.abs(wanted[:, index] - kept[:, index])), index]
            lines.append(
                f"{name} held back in {int(changed.sum())} of {len(wanted)} frames: up to {furthest:.0f}° was wanted, "
                f"the model was trained from {low[index]:.0f}° to {high[index]:.0f}°"
            )
    return lines
