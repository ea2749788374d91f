"""What a metric is: what it reads, how a clip is measured, how clips are pooled, and how failures count.

A clip is measured as a few statistics; adding up the statistics of clips and calling `pool` gives the metric's value
over them. Means, correlations and rates all have this form, so one bootstrap serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fye_model.evaluation.compare import Comparison

Reads = Literal["pictures", "masks", "points", "signals", "blendshapes", "pose", "embeddings", "statistics", "networks"]
Question = Literal["expression", "pose", "picture", "landmarks", "identity"]


def is_lack(reason: str | None) -> bool:
    """Whether a reason is one that `lacks` gives: a package or a file would mend it."""
    return reason is not None and reason.startswith("needs ")


def nothing() -> None:
    """What a metric that needs nothing lacks."""


@dataclass(frozen=True)
class Metric:
    """A row of the table.

    name: dotted, its place in summaries. better: which way is better; "one": nearer to one. question: what it
    answers. measure: comparison -> statistics (k,), NaN where the clip could not be measured; None for a mean over
    frames. pool: summed statistics (..., k) -> values (...), NaN where they say nothing. frames: comparison -> (f,),
    for a mean over frames, whose values are kept; NaN frames could not be compared, and are left out. failures: how a
    frame without a face counts. why_not: why a value is missing. about: the name under which `text` is shown, shared
    by metrics that are read alike. decides: the verdict on the metric's question is made from it. lacks: why it cannot
    be measured on this machine, None where it can. of_set: instead of `pool`, for what is no sum over clips: statistics
    (clips, k) -> a value; such a metric has no interval, because drawing clips twice makes a set narrower.
    """

    name: str
    label: str
    unit: str
    better: Literal["lower", "higher", "one"]
    question: Question
    reads: Reads
    measure: Callable[[Comparison], np.ndarray] | None
    pool: Callable[[np.ndarray], np.ndarray]
    text: str
    failures: str = "read in pictures: every frame counts"
    why_not: str = "no frame of the truth has a face"
    frames: Callable[[Comparison], np.ndarray] | None = None
    about: str = ""
    decides: bool = False
    lacks: Callable[[], str | None] = nothing
    of_set: Callable[[np.ndarray], float] | None = None

    @property
    def column(self) -> str:
        """The metric's name as a column of tables."""
        return self.name.replace(".", "_")

    def scores(self, comparison: Comparison) -> tuple[np.ndarray, np.ndarray | None]:
        """A clip's statistics (k,), and the values of its frames (f,) where the metric is a mean over them."""
        if self.measure is not None:
            return self.measure(comparison), None
        if self.frames is None:
            raise TypeError(f"metric {self.name} has neither a measure nor frames")
        values = self.frames(comparison)
        there = values[~np.isnan(values)]
        return np.array([float(there.mean()) if there.size else math.nan, 1.0]), values

    @property
    def reason(self) -> str:
        """Why a value is missing: what this machine lacks, or else what the clips lack."""
        return self.lacks() or self.why_not

    def value(self, statistics: np.ndarray) -> float:
        """The value that statistics (k,), of a clip or summed over clips, stand for; NaN when nothing was measured."""
        return float(self.pool(statistics)) if np.isfinite(statistics).any() else math.nan

    def over(self, statistics: np.ndarray) -> float:
        """The value over clips, whose statistics (k, clips) are all measured."""
        if self.of_set is not None:
            return self.of_set(statistics.T)
        return self.value(np.asarray(statistics.sum(axis=1)))

    def shortfall(self, value: np.ndarray | float) -> np.ndarray:
        """How far from ideal, lower is better, whichever way the metric goes; differences of it are comparable."""
        data = np.asarray(value, np.float64)
        return {"lower": data, "higher": -data, "one": np.abs(data - 1)}[self.better]


def mean_of_clips(statistics: np.ndarray) -> np.ndarray:
    """Pool of a metric whose clips count alike: (..., 2) sums of values and of clips -> mean."""
    return np.asarray(statistics[..., 0] / statistics[..., 1])


def no_sum(statistics: np.ndarray) -> np.ndarray:
    """Pool of a metric that is of a set of clips: one clip alone, or a sum of clips, has no value."""
    return np.full(statistics.shape[:-1], math.nan)


def rate(statistics: np.ndarray) -> np.ndarray:
    """Pool of a metric that is a share: (..., 2) sums of part and whole -> part / whole; NaN for an empty whole."""
    part, whole = statistics[..., 0], statistics[..., 1]
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
