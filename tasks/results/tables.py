"""Tables of an evaluation: from the records of clips to metrics.json and results.parquet, all from the metric table."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.evaluation.aggregate import (
    Difference,
    Estimate,
    Table,
    aggregate,
    compare,
    is_better,
    json_number,
)
from fye_model.evaluation.metric import Metric
from fye_model.evaluation.metrics import MISSING_NOTE
from fye_model.evaluation.scores import COUNTS, ClipScores
from fye_model.evaluation.signals import EXPRESSION, POSE
from fye_model.evaluation.table import METRICS
from fye_model.files import write_atomic
from tasks.results.records import METHODS, ClipRecord, Json, number
from tasks.results.verdict import counted

__all__ = ["METHODS", "nested_means", "number", "summarise", "write_results"]
METRICS_SCHEMA = 2
_MAY_LACK = ("blendshapes", "embeddings", "statistics", "networks")


def summarise(records: Sequence[ClipRecord], terms: Mapping[str, Any]) -> Json:
    """What metrics.json holds of self reenactment: protocol, both methods' tables, their paired differences, failures,
    strata, clips."""
    scores = {method: [record.scores[method] for record in records] for method in METHODS}
    tables = {method: table_to_json(aggregate(scores[method])) for method in METHODS}
    model, baseline = tables["model"], tables["baseline"]
    differences = {metric.name: compare(metric, scores["model"], scores["baseline"]) for metric in METRICS}
    return {
        "schema": METRICS_SCHEMA,
        "protocol": {**terms, "clips": len(records), "frames": model["frames"], "people": _people(records)},
        **tables,
        "difference": {name: difference_to_json(found) for name, found in differences.items()},
        "beats_baseline": {
            metric.name: is_better(metric.name, model[metric.name]["mean"], baseline[metric.name]["mean"])
            for metric in METRICS
        },
        "strata": _strata(records),
        "not_driven": sum(record.not_driven for record in records),
        "missing": _missing(model),
        "missing_note": MISSING_NOTE,
        "clips": [_clip_to_json(record) for record in records],
    }


def table_to_json(table: Table) -> Json:
    """{metric: {"mean", "ci95", "clips", "reason" where there is no mean}} and the counts."""
    return {**{name: _estimate_to_json(found) for name, found in table.estimates.items()}, **table.counts}


def nested_means(table: Mapping[str, Any]) -> Json:
    """A method's table as summaries tell it: means by their dotted names as nested objects, and the counts."""
    nested: Json = {}
    for name, cell in table.items():
        *folders, last = name.split(".")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = cell["mean"] if isinstance(cell, Mapping) else cell
    return nested


def _people(records: Sequence[ClipRecord]) -> str:
    """Whether the model was trained on the people that it is tested on."""
    subjects, seen = len({record.subject for record in records}), sum(record.trained_on for record in records)
    if seen:
        who = "same person" if subjects == 1 else f"same people ({subjects})"
        return f"{who}, later frames: training saw earlier frames of {seen} of {len(records)} clips"
    return f"{counted(subjects, 'held-out subject')}, none of whose frames in these clips was trained on"


def _strata(records: Sequence[ClipRecord]) -> dict[str, Json]:
    """Clips that move and clips at rest apart, where there are both: means and paired differences."""
    groups = {
        "moving": [record for record in records if not record.motion.at_rest],
        "at rest": [record for record in records if record.motion.at_rest],
    }
    if not all(groups.values()):
        return {}
    strata: dict[str, Json] = {}
    for name, members in groups.items():
        scores: dict[str, list[ClipScores]] = {m: [record.scores[m] for record in members] for m in METHODS}
        strata[name] = {"clips": len(members)} | {m: table_to_json(aggregate(scores[m])) for m in METHODS}
        strata[name]["difference"] = {
            metric.name: difference_to_json(compare(metric, scores["model"], scores["baseline"])) for metric in METRICS
        }
    return strata


def _missing(model: Json) -> dict[str, str]:
    """Metrics that nothing here can measure, with reasons: no weights, no packages, landmarks without blendshapes."""
    return {name: f"missing: {reason}" for name, reason in lacking(model, METRICS).items()}


def lacking(table: Json, metrics: Sequence[Metric]) -> dict[str, str]:
    """Metrics of a table that lack weights, a package, or what the landmark model does not give, with reasons."""
    return {m.name: m.reason for m in metrics if m.reads in _MAY_LACK and table[m.name]["mean"] is None}


def _clip_to_json(record: ClipRecord) -> Json:
    names = ("clip", "name", "subject", "reference", "trained_on", "video", "strip", "not_driven")
    return {
        **{name: getattr(record, name) for name in names},
        "span": list(record.span),
        "motion": {
            "expression_iod": record.motion.expression_iod,
            "pose_deg": record.motion.pose_deg,
            "at_rest": record.motion.at_rest,
        },
        "signals": {"truth": _series(record.truth_signals)}
        | {method: _series(record.scores[method].signals) for method in METHODS},
        **{method: _row(record.scores[method]) for method in METHODS},
    }


def _row(scores: ClipScores) -> Json:
    values = {metric.name: json_number(scores.value(metric)) for metric in METRICS}
    return {**values, **{name: scores.count(name) for name in COUNTS}}


def _series(signals: Mapping[str, tuple[float, ...]]) -> dict[str, list[float | str | None]]:
    return {name: [json_number(round(value, 5)) for value in values] for name, values in signals.items()}


def _estimate_to_json(found: Estimate) -> Json:
    cell: Json = {"mean": json_number(found.value), "ci95": _interval(found.interval), "clips": found.clips}
    return cell if found.reason is None else {**cell, "reason": found.reason}


def difference_to_json(found: Difference) -> Json:
    """A paired difference as metrics.json has it."""
    return {
        "mean": json_number(found.value),
        "ci95": _interval(found.interval),
        "clips": found.clips,
        "outcome": found.outcome,
    }


def _interval(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


_SIGNALS = [signal.name for signal in (*EXPRESSION, *POSE)]
_FRAME_METRICS = [metric for metric in METRICS if metric.frames is not None]
_COLUMNS: dict[str, pa.DataType] = {
    **dict.fromkeys(("clip", "name", "subject", "method"), pa.string()),
    **dict.fromkeys(("start", "stop", "reference", "frames", "height", "width"), pa.int32()),
    **{metric.column: pa.float64() for metric in METRICS},
    **dict.fromkeys(("no_face_in_result", "no_face_in_truth"), pa.int32()),
    **{f"frame_{metric.column}": pa.list_(pa.float64()) for metric in _FRAME_METRICS},
    **{f"signal_{name}": pa.list_(pa.float64()) for name in _SIGNALS},
    **{f"truth_{name}": pa.list_(pa.float64()) for name in _SIGNALS},
}


def write_results(records: Sequence[ClipRecord], path: Path) -> None:
    """Write a row per clip and method, with per-frame lists: Parquet, the same bytes for the same records."""
    rows = [_table_row(record, method) for record in records for method in METHODS]
    schema = pa.schema(list(_COLUMNS.items()), metadata={"schema_version": "fye-evaluation-2"})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="zstd")
    write_atomic(path, sink.getvalue())


def _table_row(record: ClipRecord, method: str) -> Json:
    scores = record.scores[method]
    return {
        **{name: getattr(record, name) for name in ("clip", "name", "subject", "reference")},
        **{"method": method, "start": record.span[0], "stop": record.span[1]},
        **{"height": scores.size[0], "width": scores.size[1]},
        **{name: scores.count(name) for name in COUNTS},
        **{metric.column: scores.value(metric) for metric in METRICS},
        **{f"frame_{metric.column}": list(scores.per_frame[metric.name]) for metric in _FRAME_METRICS},
        **{f"signal_{name}": list(scores.signals[name]) for name in _SIGNALS},
        **{f"truth_{name}": list(record.truth_signals[name]) for name in _SIGNALS},
    }
