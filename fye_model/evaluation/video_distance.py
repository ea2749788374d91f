"""FVD (Unterthiner et al. 2019): how far the videos of a method are from the true ones, as two sets.

A clip is the 400 logits of I3D over all its compared frames. Each set is taken for a Gaussian, and FVD is the Fréchet
distance of the two: |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2). With fewer than 400 clips the covariances are not of
full rank and the number is too high; it may be compared between methods on the same clips, not with another table's.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fye_model.evaluation.compare import Comparison
from fye_model.evaluation.weights import lacking, weight_file

if TYPE_CHECKING:
    from fye_model.evaluation.graphs.i3d import I3d

LOGITS, FEWEST_FRAMES = 400, 9  # as `graphs/i3d.py` has them; a test holds them together


def lacks() -> str | None:
    """Why FVD cannot be measured here; None where it can."""
    return lacking("i3d")


def clip_logits(comparison: Comparison) -> np.ndarray:
    """What I3D sees in the result, then in the truth: (800,); NaN for a clip too short, not square, without weights."""
    frames, height, width = comparison.result.shape[:3]
    if frames < FEWEST_FRAMES or height != width or lacks():
        return np.full(2 * LOGITS, math.nan)
    path = weight_file("i3d")
    return np.concatenate([_seen(path, of.tobytes(), of.shape) for of in (comparison.result, comparison.truth.frames)])


def fvd(statistics: np.ndarray) -> float:
    """FVD of clips: (clips, 800) -> a value; NaN for fewer than two clips."""
    return frechet_distance(statistics[:, :LOGITS], statistics[:, LOGITS:])


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance of two sets (n, k) and (m, k), each taken for a Gaussian; NaN where one has fewer than two rows.

    The trace of the product's root is the sum of the singular values of A B', where A'A and B'B are the covariances:
    exact, also where these have no full rank.
    """
    if min(len(first), len(second)) < 2:
        return math.nan
    means, spreads = [], []
    for rows in (first, second):
        means.append(rows.mean(axis=0))
        spreads.append((rows - means[-1]) / math.sqrt(len(rows) - 1))
    between = np.linalg.svd(spreads[0] @ spreads[1].T, compute_uv=False).sum()
    apart = np.square(means[0] - means[1]).sum()
    return float(max(apart + sum(np.square(spread).sum() for spread in spreads) - 2 * between, 0.0))


@lru_cache(maxsize=2)  # the last result and the truth, which the next method is held against
def _seen(path: Path, frames: bytes, shape: tuple[int, ...]) -> np.ndarray:
    from fye_model.evaluation.graphs.i3d import logits

    return logits(_network(path), np.frombuffer(frames, np.uint8).reshape(shape))


@cache
def _network(path: Path) -> I3d:
    from fye_model.evaluation.graphs.i3d import read_i3d

    return read_i3d(path)
