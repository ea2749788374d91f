"""From clips to one number: the mean over clips, with a bootstrap interval and the failures beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

METRICS = ("l1", "psnr", "ssim", "landmark_error", "landmark_error_found")
COUNTS = ("frames", "no_face_in_result", "no_face_in_truth")
LOWER_IS_BETTER = {"l1": True, "psnr": False, "ssim": False, "landmark_error": True, "landmark_error_found": True}


def bootstrap_interval(
    values: Sequence[float], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile interval of the mean, by resampling `values` with replacement.

    The unit is the clip, because frames of one clip resemble each other. None for fewer than two values, or where one
    is not finite: an interval would then say nothing.
    """
    data = np.asarray(values, np.float64)
    if data.size < 2 or not np.isfinite(data).all():
        return None
    draws = np.random.default_rng(seed).integers(0, data.size, (resamples, data.size))
    tail = 50 * (1 - level)
    low, high = np.percentile(data[draws].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)


def aggregate(clips: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Mean over clips of `FrameScores.summary` rows, each clip counting once.

    Returns {metric: {"mean", "ci95", "clips"}} and the summed counts. `clips` is the number of clips in the mean: a
    clip without a single comparable face has no landmark error, and is missing from that number.
    """
    if not clips:
        raise ValueError("no scored clip to aggregate")
    table: dict[str, Any] = {}
    for metric in METRICS:
        values = [float(clip[metric]) for clip in clips if not math.isnan(clip[metric])]
        interval = bootstrap_interval(values)
        table[metric] = {
            "mean": json_number(float(np.mean(values)) if values else math.nan),
            "ci95": list(interval) if interval else None,
            "clips": len(values),
        }
    for count in COUNTS:
        table[count] = int(sum(clip[count] for clip in clips))
    return table


def is_better(metric: str, ours: float | str | None, theirs: float | str | None) -> bool | None:
    """Whether `ours` beats `theirs`; None when one of them was not measured."""
    if ours is None or theirs is None:
        return None
    first, second = float(ours), float(theirs)
    return first < second if LOWER_IS_BETTER[metric] else first > second


def json_number(value: float) -> float | str | None:
    """A number that strict JSON can hold: NaN (nothing measured) becomes None, infinities the strings "inf", "-inf"."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
