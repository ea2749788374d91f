"""From clips to one number: pooled over clips, with a bootstrap interval and the failures beside it.

The unit is the clip, because frames of one clip resemble each other. Two methods on the same clips are compared by the
interval of their difference, clip by clip, which is far narrower than two intervals side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fye_model.evaluation.metric import Metric
from fye_model.evaluation.scores import COUNTS, ClipScores
from fye_model.evaluation.table import BY_NAME, METRICS

Outcome = Literal["better", "worse", "cannot tell"]
INTERVAL = (
    "95% percentile bootstrap over clips, 2000 resamples, seed 0; of differences, the same clips for both methods"
)
_LEVEL, _RESAMPLES, _SEED = 0.95, 2000, 0
_DEFINED = 0.9  # share of the resamples that must have a value (a correlation has none where nothing moved)


@dataclass(frozen=True)
class Estimate:
    """A metric over clips: its value (NaN: not measured, `reason` says why), interval, and number of clips in it."""

    value: float
    interval: tuple[float, float] | None
    clips: int
    reason: str | None = None


@dataclass(frozen=True)
class Difference:
    """Two methods on the same clips: `ours` minus `theirs` in the metric's unit, its paired interval, what it says.

    For a metric that is best at one, the difference is of the distances from one.
    """

    value: float
    interval: tuple[float, float] | None
    clips: int
    outcome: Outcome


@dataclass(frozen=True)
class Table:
    """All metrics of one method, and its summed counts."""

    estimates: Mapping[str, Estimate]
    counts: Mapping[str, int]


def bootstrap_interval(
    values: Sequence[float], *, level: float = _LEVEL, resamples: int = _RESAMPLES, seed: int = _SEED
) -> tuple[float, float] | None:
    """Percentile interval of the mean, by resampling `values` with replacement.

    None for fewer than two values, or where one is not finite: an interval would then say nothing.
    """
    data = np.asarray(values, np.float64)
    if data.size < 2 or not np.isfinite(data).all():
        return None
    draws = _draws(data.size, resamples, seed)
    return _percentiles(data[draws].mean(axis=1), level)


def aggregate(clips: Sequence[ClipScores], metrics: Sequence[Metric] = METRICS) -> Table:
    """Every metric over clips, and the summed counts. Raises ValueError where there is no clip.

    A clip on which a metric could not be measured is missing from that number, whose `clips` says so.
    """
    if not clips:
        raise ValueError("no scored clip to aggregate")
    return Table(
        estimates={metric.name: estimate(metric, clips) for metric in metrics},
        counts={name: sum(clip.count(name) for clip in clips) for name in COUNTS},
    )


def estimate(metric: Metric, clips: Sequence[ClipScores]) -> Estimate:
    """One metric over clips."""
    statistics = _statistics(metric, clips)
    measured = statistics[:, ~np.isnan(statistics).any(axis=0)]
    count = measured.shape[1]
    value = metric.over(measured) if count else math.nan
    interval = None
    if count >= 2 and math.isfinite(value) and metric.of_set is None:
        interval = _percentiles(_resampled(metric, measured, _draws(count)))
    return Estimate(value, interval, count, metric.reason if math.isnan(value) else None)


def compare(metric: Metric, ours: Sequence[ClipScores], theirs: Sequence[ClipScores]) -> Difference:
    """Paired comparison of two methods' scores of the same clips, in the same order.

    Better or worse only where the whole interval is on one side of 0. Raises ValueError for unequal numbers of clips.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"a paired comparison needs the same clips, got {len(ours)} and {len(theirs)}")
    first, second = _statistics(metric, ours), _statistics(metric, theirs)
    both = ~(np.isnan(first).any(axis=0) | np.isnan(second).any(axis=0))
    first, second = first[:, both], second[:, both]
    count = int(both.sum())
    if not count:
        return Difference(math.nan, None, 0, "cannot tell")
    with np.errstate(invalid="ignore"):  # infinite minus infinite: two copies of the truth
        value = _away(metric, metric.over(first)) - _away(metric, metric.over(second))
        if count < 2 or not math.isfinite(value) or metric.of_set is not None:
            return Difference(float(value), None, count, "cannot tell")
        draws = _draws(count)
        spread = _away(metric, _resampled(metric, first, draws)) - _away(metric, _resampled(metric, second, draws))
    interval = _percentiles(spread)
    return Difference(float(value), interval, count, _outcome(metric, interval))


def is_better(name: str, ours: float | str | None, theirs: float | str | None) -> bool | None:
    """Whether the value `ours` beats `theirs`; None when one of them was not measured."""
    if ours is None or theirs is None:
        return None
    metric = BY_NAME[name]
    return bool(metric.shortfall(float(ours)) < metric.shortfall(float(theirs)))


def json_number(value: float) -> float | str | None:
    """A number that strict JSON can hold: NaN (nothing measured) becomes None, infinities the strings "inf", "-inf"."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def _outcome(metric: Metric, interval: tuple[float, float] | None) -> Outcome:
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "cannot tell"
    return "better" if (interval[1] < 0) == (metric.better != "higher") else "worse"


def _away(metric: Metric, values: np.ndarray | float) -> np.ndarray:
    """Values whose difference is told: themselves, or how far from one."""
    data = np.asarray(values, np.float64)
    return np.abs(data - 1) if metric.better == "one" else data


def _statistics(metric: Metric, clips: Sequence[ClipScores]) -> np.ndarray:
    """(k, clips), so that sums over clips run over neighbours in memory, as those of plain lists do."""
    return np.ascontiguousarray(np.array([clip.statistics[metric.name] for clip in clips], np.float64).T)


def _draws(count: int, resamples: int = _RESAMPLES, seed: int = _SEED) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count, (resamples, count))


def _resampled(metric: Metric, statistics: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The metric's value in every resample: (k, clips), (r, clips) -> (r,)."""
    return metric.pool(np.stack([row[draws].sum(axis=1) for row in statistics], axis=-1))


def _percentiles(values: np.ndarray, level: float = _LEVEL) -> tuple[float, float] | None:
    defined = values[~np.isnan(values)]
    if not np.isfinite(defined).all() or len(defined) < _DEFINED * len(values):
        return None
    tail = 50 * (1 - level)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)
