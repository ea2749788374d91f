"""Tables of an evaluation: from the records of clips to metrics.json and results.parquet."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.evaluation.aggregate import aggregate, is_better
from fye_model.evaluation.metrics import MISSING_METRICS, MISSING_NOTE
from fye_model.files import write_atomic

METRICS_SCHEMA = 1
METHODS = ("model", "baseline")


def summarise(records: list[dict[str, Any]], terms: dict[str, Any]) -> dict[str, Any]:
    """What metrics.json holds: protocol, both methods' tables, their comparison, failures, missing metrics, clips."""
    tables = {
        method: aggregate([{k: number(v) for k, v in record[method].items() if k != "per_frame"} for record in records])
        for method in METHODS
    }
    model, baseline = tables["model"], tables["baseline"]
    return {
        "schema": METRICS_SCHEMA,
        "protocol": {**terms, "clips": len(records), "frames": model["frames"]},
        "model": model,
        "baseline": baseline,
        "beats_baseline": {
            name: is_better(name, model[name]["mean"], baseline[name]["mean"])
            for name in ("l1", "psnr", "ssim", "landmark_error")
        },
        "not_driven": sum(record["not_driven"] for record in records),
        "missing": {name: f"missing: {reason}" for name, reason in MISSING_METRICS.items()},
        "missing_note": MISSING_NOTE,
        "clips": [
            {
                **{name: record[name] for name in ("clip", "name", "subject", "span", "video", "strip", "not_driven")},
                **{
                    method: {name: value for name, value in record[method].items() if name != "per_frame"}
                    for method in METHODS
                },
            }
            for record in records
        ],
    }


_COLUMNS: dict[str, pa.DataType] = {
    "clip": pa.string(),
    "name": pa.string(),
    "subject": pa.string(),
    "method": pa.string(),
    "start": pa.int32(),
    "stop": pa.int32(),
    "frames": pa.int32(),
    "height": pa.int32(),
    "width": pa.int32(),
    "l1": pa.float64(),
    "psnr": pa.float64(),
    "ssim": pa.float64(),
    "landmark_error": pa.float64(),
    "landmark_error_found": pa.float64(),
    "no_face_in_result": pa.int32(),
    "no_face_in_truth": pa.int32(),
    "frame_l1": pa.list_(pa.float64()),
    "frame_psnr": pa.list_(pa.float64()),
    "frame_ssim": pa.list_(pa.float64()),
    "frame_landmark_error": pa.list_(pa.float64()),
}


def write_results(records: list[dict[str, Any]], path: Path) -> None:
    """Write a row per clip and method, with per-frame lists: Parquet, the same bytes for the same records."""
    rows = []
    for record in records:
        for method in METHODS:
            scores = record[method]
            row = {name: scores[name] for name in _COLUMNS if name in scores}
            row |= {f"frame_{name}": [number(v) for v in values] for name, values in scores["per_frame"].items()}
            row |= {name: record[name] for name in ("clip", "name", "subject")}
            row |= {"method": method, "start": record["span"][0], "stop": record["span"][1]}
            for name in ("psnr", "landmark_error", "landmark_error_found"):
                row[name] = number(row[name])
            rows.append(row)
    schema = pa.schema(list(_COLUMNS.items()), metadata={"schema_version": "fye-evaluation-1"})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="zstd")
    write_atomic(path, sink.getvalue())


def number(value: Any) -> float:
    """Back from JSON: None is NaN, "inf" is infinite."""
    return float("nan") if value is None else float(value)
