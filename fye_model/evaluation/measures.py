"""How a comparison is measured frame by frame or as a clip: the functions that the table's metrics are made of."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fye_model.evaluation.agreement import clip_sums
from fye_model.evaluation.blinks import match_blinks
from fye_model.evaluation.compare import Comparison
from fye_model.evaluation.metrics import NO_FACE_ERROR
from fye_model.landmarks.geometry import rotation_difference_deg

# Errors of a frame whose result has no face: a head turned to the side, half a head away, a face of another expression.
NO_FACE_DEG, NO_FACE_CM, NO_FACE_BLENDSHAPES = 45.0, 10.0, 0.25
# The signals of the two numbers on expression as a whole; each part of the face once.
WHOLE_EXPRESSION = (
    *("mouth_opening", "mouth_width", "lip_corner_left", "lip_corner_right"),
    *("eye_opening_left", "eye_opening_right", "brow_height", "gaze_x", "gaze_y"),
)

Frames = Callable[[Comparison], np.ndarray]
Measure = Callable[[Comparison], np.ndarray]
OfPoints = Callable[[np.ndarray, np.ndarray, int, int], float]


def of_pictures(name: str) -> Frames:
    """A measure of pictures on every frame, by its name in `metrics.picture_scores`; NaN inside an empty mask."""
    return lambda comparison: comparison.picture_scores[name]


def change_error(comparison: Comparison) -> np.ndarray:
    """How differently result and truth change since the frame before, (f,), on the scale 0 to 1; NaN on the first."""
    values = np.full(len(comparison), math.nan)
    for frame in range(1, len(comparison)):
        ours, theirs = (
            of[frame].astype(np.float32) - of[frame - 1].astype(np.float32)
            for of in (comparison.result, comparison.truth.frames)
        )
        values[frame] = np.abs(ours - theirs).mean() / 255
    return values


def of_points(score: OfPoints, no_face: float | None) -> Frames:
    """A measure of landmarks on every frame; `no_face`: what a result without a face counts as, None: left out."""

    def frames(comparison: Comparison) -> np.ndarray:
        height, width = comparison.size
        values = np.full(len(comparison), math.nan)
        for frame in np.flatnonzero(comparison.comparable & comparison.faces.found):
            ours, theirs = comparison.faces.points[frame], comparison.truth.faces.points[frame]
            values[frame] = score(ours, theirs, height, width)
        return values if no_face is None else np.where(comparison.lost, no_face, values)

    return frames


def signal_error(name: str) -> Frames:
    """Absolute difference of a signal on every frame, in its unit."""

    def frames(comparison: Comparison) -> np.ndarray:
        difference = np.abs(comparison.signals[name] - comparison.truth.signals[name])
        return np.where(comparison.lost, NO_FACE_ERROR, difference)

    return frames


def whole_expression_error(comparison: Comparison) -> np.ndarray:
    """Mean of the errors of all expression signals on every frame, in IOD."""
    return np.asarray(np.mean([signal_error(name)(comparison) for name in WHOLE_EXPRESSION], axis=0))


def signal_sums(*names: str) -> Measure:
    """The sums of `agreement.py` for one signal or several, one after the other: (4 s,)."""

    def measure(comparison: Comparison) -> np.ndarray:
        if not comparison.comparable.any():
            return np.full(4 * len(names), math.nan)
        return np.concatenate([clip_sums(comparison.truth.signals[name], comparison.signals[name]) for name in names])

    return measure


def blink_counts(part: str, whole: str) -> Measure:
    """Two of a clip's blink counts: (2,)."""

    def measure(comparison: Comparison) -> np.ndarray:
        if not comparison.comparable.any():
            return np.full(2, math.nan)
        truth, result = (
            (signals["eye_opening_left"] + signals["eye_opening_right"]) / 2
            for signals in (comparison.truth.signals, comparison.signals)
        )
        counts = match_blinks(truth, result)
        return np.array([float(getattr(counts, part)), float(getattr(counts, whole))])

    return measure


def blendshape_error(comparison: Comparison) -> np.ndarray:
    """Mean absolute difference of the 51 blendshapes beside the neutral one; NaN where there are none."""
    ours, theirs = comparison.faces.blendshapes, comparison.truth.faces.blendshapes
    if ours is None or theirs is None:
        return np.full(len(comparison), math.nan)
    return np.where(comparison.lost, NO_FACE_BLENDSHAPES, np.abs(ours - theirs)[:, 1:].mean(axis=1))


def rotation_error(comparison: Comparison) -> np.ndarray:
    """Angle between the heads of result and truth on every frame, in degrees."""
    both = comparison.comparable & comparison.faces.found
    angles = np.full(len(comparison), math.nan)
    angles[both] = rotation_difference_deg(comparison.faces.matrix[both], comparison.truth.faces.matrix[both])
    return np.where(comparison.lost, NO_FACE_DEG, angles)


def translation_error(comparison: Comparison) -> np.ndarray:
    """Distance between the heads of result and truth across the picture, in centimetres of the canonical face.

    Depth is left out: from one picture it is a guess about the head's size, and its noise would hide the rest.
    """
    offset = comparison.faces.matrix[:, :2, 3] - comparison.truth.faces.matrix[:, :2, 3]
    return np.where(comparison.lost, NO_FACE_CM, np.linalg.norm(offset, axis=1))
