"""Held-out evaluation of a model folder: reenact, score beside the trivial baseline, and leave tables and pictures.

A plain function. Its folder may be half-filled by an earlier, killed call: clips whose record is complete and was made
under the same key are not done again, and the outputs come out the same.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.config import EvaluationConfig, SamplingConfig
from fye_model.evaluation.aggregate import aggregate, is_better, json_number
from fye_model.evaluation.metrics import MISSING_METRICS, MISSING_NOTE, FrameScores
from fye_model.landmarks.drawing import Variant
from fye_model.training.index import ClipEntry
from tasks.assets import LandmarkerAsset
from tasks.detector import FaceLandmarker
from tasks.pictures import save_png, side_by_side, spread_frames, strip, write_atomic
from tasks.reenactment import (
    HeldOut,
    HeldOutClip,
    ScoredClip,
    check_landmark_model,
    evaluated_size,
    load_clip,
    protocol,
    read_held_out,
    score_clip,
)
from tasks.video import write_video

SCHEMA = 1
METHODS = ("model", "baseline")
_STRIP_ROWS = 5
_VIDEO_CRF = 16


def evaluate(
    model_dir: Path,
    index_path: Path,
    config: EvaluationConfig,
    sampling: SamplingConfig,
    landmarker: LandmarkerAsset,
    out_dir: Path,
    log: Callable[[str], None] = print,
    *,
    variant: Variant = "expression_aware",
    device: str = "cpu",
) -> dict[str, Any]:
    """Evaluate the model in `model_dir` on the held-out spans of the training index; returns what metrics.json holds.

    landmarker: its model must be the one of the index. variant: how landmarks are drawn, as in
    training. Writes into `out_dir`: metrics.json, results.parquet (a row per clip and method, with per-frame lists),
    videos/*.mp4 and strips/*.png (reference, landmarks, truth, result), and records/*.json, from which a killed
    call resumes. Nothing written depends on time or place. Raises ValueError when nothing is held out, the landmark
    models differ, or a clip's files do not fit together.
    """
    held_out = read_held_out(index_path)
    clips = held_out.spread(config.clips)
    size = evaluated_size(held_out, config.size)
    terms = protocol(held_out, sampling, config.frames, config.size, variant)
    model_digest = folder_digest(model_dir)
    records: list[dict[str, Any]] = []
    pipeline: Any = None
    with FaceLandmarker(landmarker.path, landmarker.model) as detector:
        check_landmark_model(held_out, detector)
        for number, entry in enumerate(clips, 1):
            label = f"evaluate {number}/{len(clips)} {entry.name}"
            key = _digest([SCHEMA, model_digest, terms, entry.clip, entry.val])
            record = _finished(out_dir, entry, key)
            if record is not None:
                log(f"{label}: already done")
            else:
                if pipeline is None:
                    pipeline = load_pipeline(model_dir, device)
                clip = load_clip(held_out, entry, config.frames, variant)
                scored = score_clip(pipeline, clip, detector, sampling, config.frames, size)
                record = _record(held_out, clip, scored, key, out_dir)
                log(f"{label}: {_line(record)}")
            records.append(record)
    result = _summarise(records, terms)
    _write_results(records, out_dir / "results.parquet")
    write_atomic(out_dir / "metrics.json", _json(result))
    return result


def load_pipeline(model_dir: Path, device: str) -> Any:
    """The pipeline of a model folder, silent, on `device`."""
    from fye_model.animation.pipeline import FollowYourEmojiPipeline  # the networks: slow to import

    pipeline: Any = FollowYourEmojiPipeline.from_pretrained(str(model_dir)).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def folder_digest(folder: Path) -> str:
    """sha256 over the names and contents of a folder's files."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such model folder")
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            state.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return state.hexdigest()


def file_stem(clip: str) -> str:
    """Name of a clip's files: its id, made harmless for any file system."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", clip).lstrip(".")[:100] or "clip"


def _record(held_out: HeldOut, clip: HeldOutClip, scored: ScoredClip, key: str, out_dir: Path) -> dict[str, Any]:
    """Write a clip's video and strip, then its record, which makes the clip count as done."""
    stem = file_stem(clip.clip)
    pair = scored.reenactment
    video, picture = f"videos/{stem}.mp4", f"strips/{stem}.png"
    (out_dir / "videos").mkdir(parents=True, exist_ok=True)
    write_video(out_dir / video, side_by_side(pair), held_out.fps, crf=_VIDEO_CRF)
    save_png(strip(pair, spread_frames(len(pair.truth), _STRIP_ROWS)), out_dir / picture)
    record = {
        "schema": SCHEMA,
        "key": key,
        "clip": clip.clip,
        "name": clip.name,
        "subject": clip.subject,
        "span": list(clip.span),
        "not_driven": int((~clip.driven[1:]).sum()),
        "video": video,
        "strip": picture,
        "model": _scores(scored.model),
        "baseline": _scores(scored.baseline),
    }
    record["files"] = {name: (out_dir / name).stat().st_size for name in (video, picture)}
    write_atomic(out_dir / "records" / f"{stem}.json", _json(record))
    return record


def _finished(out_dir: Path, entry: ClipEntry, key: str) -> dict[str, Any] | None:
    """A clip's record of an earlier call, when it is whole and of the same key."""
    try:
        record = json.loads((out_dir / "records" / f"{file_stem(entry.clip)}.json").read_text())
        whole = all((out_dir / name).stat().st_size == size for name, size in record["files"].items())
        return record if whole and record["key"] == key else None
    except (OSError, ValueError, KeyError):
        return None


def _scores(scores: FrameScores) -> dict[str, Any]:
    frames = {
        "l1": scores.l1,
        "psnr": scores.psnr,
        "ssim": scores.ssim,
        "landmark_error": scores.landmark_error,
    }
    return {
        **{name: json_number(value) for name, value in scores.summary().items()},
        "height": scores.size[0],
        "width": scores.size[1],
        "per_frame": {name: [json_number(float(v)) for v in values] for name, values in frames.items()},
    }


def _summarise(records: list[dict[str, Any]], terms: dict[str, Any]) -> dict[str, Any]:
    tables = {
        method: aggregate(
            [{k: _number(v) for k, v in record[method].items() if k != "per_frame"} for record in records]
        )
        for method in METHODS
    }
    model, baseline = tables["model"], tables["baseline"]
    return {
        "schema": SCHEMA,
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


def _write_results(records: list[dict[str, Any]], path: Path) -> None:
    rows = []
    for record in records:
        for method in METHODS:
            scores = record[method]
            row = {name: scores[name] for name in _COLUMNS if name in scores}
            row |= {f"frame_{name}": [_number(v) for v in values] for name, values in scores["per_frame"].items()}
            row |= {name: record[name] for name in ("clip", "name", "subject")}
            row |= {"method": method, "start": record["span"][0], "stop": record["span"][1]}
            for name in ("psnr", "landmark_error", "landmark_error_found"):
                row[name] = _number(row[name])
            rows.append(row)
    schema = pa.schema(list(_COLUMNS.items()), metadata={"schema_version": "fye-evaluation-1"})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="zstd")
    write_atomic(path, sink.getvalue())


def _number(value: Any) -> float:
    """Back from JSON: None is NaN, "inf" is infinite."""
    return float("nan") if value is None else float(value)


def _line(record: dict[str, Any]) -> str:
    ours, base = record["model"], record["baseline"]
    return ", ".join(
        f"{name} {_number(ours[name]):.4f} (baseline {_number(base[name]):.4f})"
        for name in ("l1", "ssim", "landmark_error")
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()
