"""Cross reenactments on disk and in numbers: a record a pair, and the part of metrics.json that is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fye_model.evaluation.aggregate import aggregate, compare, json_number
from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.scores import COUNTS, ClipScores
from fye_model.evaluation.windows import Motion
from tasks.results.records import METHODS, Json, scores_from_json, scores_to_json
from tasks.results.tables import difference_to_json, lacking, table_to_json

CROSS_TASK = (
    "cross reenactment: held-out frames of another person drive a held-out reference; the driver stands for the truth"
)


@dataclass(frozen=True)
class CrossRecord:
    """One pair: whose reference performed whose frames, what both methods scored, and the pictures made.

    portrait, driver: ids of the clips; span: [start, stop) of the driver's frames; reference: frame number in the
    portrait's clip. The rest is as in `ClipRecord` and `CrossClip`.
    """

    pair: str
    name: str
    portrait: str
    driver: str
    subjects: tuple[str, str]  # the portrait's, the driver's
    span: tuple[int, int]
    reference: int
    aligned: bool
    not_driven: int
    motion: Motion
    scores: Mapping[str, ClipScores]
    video: str
    strip: str

    def to_json(self) -> Json:
        """As strict JSON can hold it: NaN is null."""
        return {
            **self.told(),
            "motion": {"expression_iod": self.motion.expression_iod, "pose_deg": self.motion.pose_deg},
            **{method: scores_to_json(scores) for method, scores in self.scores.items()},
        }

    def told(self) -> Json:
        """All but scores and motion."""
        plain = ("pair", "name", "portrait", "driver", "reference", "aligned", "not_driven", "video", "strip")
        values = {name: getattr(self, name) for name in plain}
        return {**values, "subjects": list(self.subjects), "span": list(self.span)}

    @classmethod
    def from_json(cls, values: Json) -> CrossRecord:
        """The record that `to_json` wrote; KeyError, TypeError or ValueError for anything else."""
        return cls(
            **{name: str(values[name]) for name in ("pair", "name", "portrait", "driver", "video", "strip")},
            subjects=(str(values["subjects"][0]), str(values["subjects"][1])),
            span=(int(values["span"][0]), int(values["span"][1])),
            reference=int(values["reference"]),
            aligned=bool(values["aligned"]),
            not_driven=int(values["not_driven"]),
            motion=Motion(**values["motion"]),
            scores={method: scores_from_json(values[method]) for method in METHODS},
        )


def summarise_cross(records: Sequence[CrossRecord], why_none: str | None) -> Json:
    """What metrics.json says of cross reenactment: both methods' tables and their paired differences, or why not.

    why_none: said where there is no record.
    """
    if not records:
        return {"left_out": why_none}
    scores = {method: [record.scores[method] for record in records] for method in METHODS}
    tables = {method: table_to_json(aggregate(scores[method], CROSS_METRICS)) for method in METHODS}
    return {
        "task": CROSS_TASK,
        "pairs": len(records),
        "people": len({subject for record in records for subject in record.subjects}),
        "not_aligned": sum(not record.aligned for record in records),
        "not_driven": sum(record.not_driven for record in records),
        **tables,
        "difference": {
            metric.name: difference_to_json(compare(metric, scores["model"], scores["baseline"]))
            for metric in CROSS_METRICS
        },
        "missing": {name: f"missing: {why}" for name, why in lacking(tables["model"], CROSS_METRICS).items()},
        "list": [_row(record) for record in records],
    }


def _row(record: CrossRecord) -> Json:
    moved = record.motion
    motion = {"expression_iod": moved.expression_iod, "pose_deg": moved.pose_deg, "at_rest": moved.at_rest}
    return {
        **record.told(),
        "motion": motion,
        **{method: _values(record.scores[method]) for method in METHODS},
    }


def _values(scores: ClipScores) -> Json:
    values = {metric.name: json_number(scores.value(metric)) for metric in CROSS_METRICS}
    return {**values, **{name: scores.count(name) for name in COUNTS}}
