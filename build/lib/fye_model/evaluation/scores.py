"""One clip's scores by every metric of the table, in numbers that can be stored and pooled later."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fye_model.evaluation.compare import Comparison
from fye_model.evaluation.metric import Metric
from fye_model.evaluation.table import METRICS

COUNTS = ("frames", "no_face_in_result", "no_face_in_truth")


@dataclass(frozen=True)
class ClipScores:
    """What a method scored on one clip.

    size: (height, width) of the pictures in pixels. statistics: metric -> the numbers that pool over clips, NaN where
    it could not be measured. per_frame: metric -> a value a frame, for metrics that are means over frames.
    signals: name -> the result's signal, a value a frame. NaN is "no face".
    """

    frames: int
    no_face_in_result: int
    no_face_in_truth: int
    size: tuple[int, int]
    statistics: Mapping[str, tuple[float, ...]]
    per_frame: Mapping[str, tuple[float, ...]]
    signals: Mapping[str, tuple[float, ...]]

    def value(self, metric: Metric) -> float:
        """A metric's value on this clip alone; NaN where it was not measured."""
        return metric.value(np.asarray(self.statistics[metric.name], np.float64))

    def summary(self) -> dict[str, float]:
        """Every metric's value on this clip alone, and the counts."""
        return {name: self.count(name) for name in COUNTS} | {m.name: self.value(m) for m in METRICS}

    def count(self, name: str) -> int:
        """One of `COUNTS`."""
        return {
            "frames": self.frames,
            "no_face_in_result": self.no_face_in_result,
            "no_face_in_truth": self.no_face_in_truth,
        }[name]


def score(comparison: Comparison, metrics: Sequence[Metric] = METRICS) -> ClipScores:
    """Score a result against its truth by every metric. Clips are scored one by one: nothing depends on their order."""
    scored = {metric.name: metric.scores(comparison) for metric in metrics}
    return ClipScores(
        frames=len(comparison),
        no_face_in_result=int(comparison.lost.sum()),
        no_face_in_truth=int((~comparison.comparable).sum()),
        size=comparison.size,
        statistics={name: _floats(statistics) for name, (statistics, _) in scored.items()},
        per_frame={name: _floats(frames) for name, (_, frames) in scored.items() if frames is not None},
        signals={name: _floats(values) for name, values in comparison.signals.items()},
    )


def merged(scores: Sequence[ClipScores]) -> ClipScores:
    """Several results of one clip (those of other seeds, say) as one, which stays one clip in every interval.

    Statistics and counts are summed; values of single frames are left out. Raises ValueError where there is none.
    """
    if not scores:
        raise ValueError("no scores to merge")
    return ClipScores(
        frames=sum(one.frames for one in scores),
        no_face_in_result=sum(one.no_face_in_result for one in scores),
        no_face_in_truth=sum(one.no_face_in_truth for one in scores),
        size=scores[0].size,
        statistics={
            name: tuple(map(math.fsum, zip(*(one.statistics[name] for one in scores), strict=True)))
            for name in scores[0].statistics
        },
        per_frame={},
        signals={},
    )


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
