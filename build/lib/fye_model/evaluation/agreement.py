"""How well one signal follows another over many clips: sums of one clip, and what follows from the sum over clips.

The sums are of deviations from each clip's own mean, so that clips (and people) with different resting faces can be
pooled, and resampling clips costs additions.
"""

from __future__ import annotations

import numpy as np

# n, and sums of squares and products of deviations: of the truth, of the result, of both.
SUMS = 4
# Standard deviation (IOD or degrees) below which a signal is said not to vary.
STILL = 1e-6


def clip_sums(truth: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Sums (4,) over the frames whose truth has a value; (f,) each, NaN where there is no face.

    A frame that has a face in the truth only counts as the result at rest (its clip's mean): it lowers slope and
    correlation, and is never left out.
    """
    there = np.isfinite(truth)
    if not there.any():
        return np.zeros(SUMS)
    x, y = truth[there] - truth[there].mean(), result[there]
    seen = np.isfinite(y)
    y = np.where(seen, y - y[seen].mean(), 0.0) if seen.any() else np.zeros(len(y))
    return np.array([len(x), (x * x).sum(), (y * y).sum(), (x * y).sum()])


def correlation(sums: np.ndarray) -> np.ndarray:
    """Pearson's r of pooled deviations: sums (..., 4) -> (...); 0 for a result that does not move.

    NaN where the truth does not move: there was nothing to follow.
    """
    n, xx, yy, xy = np.moveaxis(sums, -1, 0)
    still, frozen = xx <= n * STILL**2, yy <= n * STILL**2
    scale = np.sqrt(np.where(still | frozen, 1.0, xx * yy))
    return np.where(still, np.nan, np.where(frozen, 0.0, np.clip(xy / scale, -1, 1)))


def slope(sums: np.ndarray) -> np.ndarray:
    """How far the result moves for each unit of the truth (least squares): (..., 4) -> (...); NaN for a still truth."""
    n, xx, _, xy = np.moveaxis(sums, -1, 0)
    still = xx <= n * STILL**2
    return np.where(still, np.nan, xy / np.where(still, 1.0, xx))


def mean_correlation(sums: np.ndarray) -> np.ndarray:
    """Mean of several signals' correlations, over those whose truth moves: (..., 4 s) -> (...)."""
    each = correlation(sums.reshape(*sums.shape[:-1], -1, SUMS))
    moves = np.isfinite(each)
    count = moves.sum(axis=-1)
    total = np.where(moves, each, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
