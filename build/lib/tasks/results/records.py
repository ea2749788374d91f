"""What is kept of one evaluated clip: a frozen record, and the JSON that a killed evaluation resumes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fye_model.evaluation.aggregate import json_number
from fye_model.evaluation.scores import ClipScores
from fye_model.evaluation.windows import Motion

METHODS = ("model", "baseline")

# A JSON object as it stands in a file; what it holds is checked where it is read.
Json = dict[str, Any]


@dataclass(frozen=True)
class ClipRecord:
    """One clip: what was taken of it, what both methods scored, and the pictures made.

    span: [start, stop) of the frames taken; reference: frame number of the reference. trained_on: training saw other
    frames of this clip. not_driven: driven frames without landmarks. scores: method -> scores. truth_signals: signal
    -> a value a frame. video, strip: paths in the evaluation's folder.
    """

    clip: str
    name: str
    subject: str
    span: tuple[int, int]
    reference: int
    trained_on: bool
    not_driven: int
    motion: Motion
    scores: Mapping[str, ClipScores]
    truth_signals: Mapping[str, tuple[float, ...]]
    video: str
    strip: str

    def to_json(self) -> Json:
        """As strict JSON can hold it: NaN is null."""
        plain = ("clip", "name", "subject", "reference", "trained_on", "not_driven", "video", "strip")
        return {
            **{name: getattr(self, name) for name in plain},
            "span": list(self.span),
            "motion": {"expression_iod": self.motion.expression_iod, "pose_deg": self.motion.pose_deg},
            "truth_signals": _lists(self.truth_signals),
            **{method: scores_to_json(scores) for method, scores in self.scores.items()},
        }

    @classmethod
    def from_json(cls, values: Json) -> ClipRecord:
        """The record that `to_json` wrote; KeyError, TypeError or ValueError for anything else."""
        return cls(
            clip=str(values["clip"]),
            name=str(values["name"]),
            subject=str(values["subject"]),
            span=(int(values["span"][0]), int(values["span"][1])),
            reference=int(values["reference"]),
            trained_on=bool(values["trained_on"]),
            not_driven=int(values["not_driven"]),
            motion=Motion(**values["motion"]),
            scores={method: scores_from_json(values[method]) for method in METHODS},
            truth_signals=_tuples(values["truth_signals"]),
            video=str(values["video"]),
            strip=str(values["strip"]),
        )


def number(value: Any) -> float:
    """Back from JSON: None is NaN, "inf" is infinite."""
    return float("nan") if value is None else float(value)


def scores_to_json(scores: ClipScores) -> Json:
    """One clip's scores as strict JSON can hold them."""
    return {
        **{name: getattr(scores, name) for name in ("frames", "no_face_in_result", "no_face_in_truth")},
        "size": list(scores.size),
        "statistics": _lists(scores.statistics),
        "per_frame": _lists(scores.per_frame),
        "signals": _lists(scores.signals),
    }


def scores_from_json(values: Json) -> ClipScores:
    """What `scores_to_json` wrote; KeyError, TypeError or ValueError for anything else."""
    return ClipScores(
        frames=int(values["frames"]),
        no_face_in_result=int(values["no_face_in_result"]),
        no_face_in_truth=int(values["no_face_in_truth"]),
        size=(int(values["size"][0]), int(values["size"][1])),
        statistics=_tuples(values["statistics"]),
        per_frame=_tuples(values["per_frame"]),
        signals=_tuples(values["signals"]),
    )


def _lists(table: Mapping[str, tuple[float, ...]]) -> dict[str, list[float | str | None]]:
    return {name: [json_number(value) for value in values] for name, values in table.items()}


def _tuples(table: Mapping[str, list[Any]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(number(value) for value in values) for name, values in table.items()}
