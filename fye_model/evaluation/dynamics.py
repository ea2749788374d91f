"""How much lips and brows move, as THEval measures it (Quignon et al., arXiv 2511.04520, by its authors' code).

Lips: of every two of the 40 lip points the standard deviation over time of their distance in the picture, mean over
all pairs, in pixels of a picture of 256. Brows: the distance of each brow's centre from its eye's over the distance of
the two eyes' centres; mean change from frame to frame, both brows. A method's score is how near its mean over the clips
is to the truth's: 1 - |result - truth| / truth. It does not ask whether the movements are the right ones.

The numbers of THEval's own table are of its videos, with a mesh that is smoothed over time; ours is found anew in every
frame, and its jitter counts as movement. So compare scores under one protocol, and read theirs beside ours with care.

Validated on a real clip of 160 pixels (26 frames; lips, brows): a copy 1 and 1, half the mouth's amplitude 0.51 and
0.54, a frozen mouth 0.04 and 0.82, the first frame repeated 0 and 0, one frame late 1.00 and 0.99, which it cannot see.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fye_model.evaluation.compare import Comparison
from fye_model.evaluation.faces import FaceTrack
from fye_model.landmarks import topology

_PICTURE_PX = 256.0
_STILL = 1e-6  # rounding: nothing that moves is below
_LIPS = topology.INNER_LIPS + topology.OUTER_LIPS
Movement = Callable[[FaceTrack, np.ndarray], float]


def lip_dynamics(track: FaceTrack, counted: np.ndarray) -> float:
    """Of the counted frames (f,) bool: mean standard deviation of distances between lip points, in pixels of 256.

    A frame without a face is one at the mean shape; NaN where no counted frame has one.
    """
    there = counted & track.found
    if not there.any():
        return math.nan
    points = track.points[there][:, _LIPS, :2] * _PICTURE_PX
    first, second = np.triu_indices(points.shape[1], 1)
    distances = np.linalg.norm(points[:, first] - points[:, second], axis=2)
    # frames at the mean add nothing to the sum of squares
    share = there.sum() / counted.sum()
    return float(distances.std(axis=0).mean() * math.sqrt(share))


def brow_dynamics(track: FaceTrack, counted: np.ndarray) -> float:
    """Of the counted frames (f,) bool: mean change of brow over eye from one to the next, in distances of the eyes.

    A frame without a face is one that has not moved; NaN where fewer than two counted frames have one.
    """
    there = counted & track.found
    if there.sum() < 2:
        return math.nan
    pixels = track.pixels[there]
    eyes = [pixels[:, points].mean(axis=1) for points in (topology.RIGHT_EYE, topology.LEFT_EYE)]
    brows = [pixels[:, points].mean(axis=1) for points in (topology.RIGHT_BROW, topology.LEFT_BROW)]
    apart = np.linalg.norm(eyes[0] - eyes[1], axis=1)
    heights = np.stack([np.linalg.norm(brow - eye, axis=1) for brow, eye in zip(brows, eyes, strict=True)]) / apart
    return float(np.abs(np.diff(heights, axis=1)).sum() / (2 * (counted.sum() - 1)))


def movements(measure: Movement) -> Callable[[Comparison], np.ndarray]:
    """A measure of result and truth over the frames whose truth has a face: (2,), for `nearness` to pool."""

    def both(comparison: Comparison) -> np.ndarray:
        counted = comparison.comparable
        truth = measure(comparison.truth.faces, counted)
        result = measure(comparison.faces, counted)
        # a result without any face moves nothing
        return np.array([0.0 if math.isnan(result) and not math.isnan(truth) else result, truth])

    return both


def nearness(statistics: np.ndarray) -> np.ndarray:
    """(..., 2) sums of result and truth over clips -> 1 - |result - truth| / truth; NaN where the truth is still."""
    result, truth = statistics[..., 0], statistics[..., 1]
    moves = truth > _STILL
    return np.where(moves, 1 - np.abs(result - truth) / np.where(moves, truth, 1), np.nan)
