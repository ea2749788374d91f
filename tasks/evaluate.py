"""Held-out evaluation of a model folder: reenact, score beside the trivial baseline, and leave tables and pictures.

A plain function. Its folder may be half-filled by an earlier, killed call: clips whose record is complete and was made
under the same key are not done again, and the outputs come out the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fye_model.animation.description import check_description
from fye_model.animation.folder import load_pipeline
from fye_model.config import Config, EvaluationConfig, LandmarkImageConfig, Recipe, SamplingConfig
from fye_model.evaluation.extra import installed
from fye_model.evaluation.scores import ClipScores
from fye_model.evaluation.table import BY_NAME, NAMES
from fye_model.files import folder_digest, write_atomic
from fye_model.landmarks.drawing import Variant
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Worker
from tasks.engine.stage import Context, Stage
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LandmarkerAsset
from tasks.media.read import write_video
from tasks.results.pictures import save_png, side_by_side, spread_frames, strip
from tasks.results.records import ClipRecord, Json
from tasks.results.reenactment import (
    Entry,
    HeldOut,
    HeldOutClip,
    ScoredClip,
    check_landmark_model,
    evaluated_size,
    load_clip,
    prepare_threads,
    protocol,
    read_held_out,
    score_clip,
    training_index,
)
from tasks.results.tables import summarise, write_results
from tasks.workspace.dataset import ClipSet

logger = logging.getLogger(__name__)
SCHEMA = 2
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
) -> Json:
    """Evaluate the model in `model_dir` on the held-out spans of the training index; returns what metrics.json holds.

    landmarker: its model must be the one of the index. variant: how landmarks are drawn, as in
    training. Writes into `out_dir`: metrics.json, results.parquet (a row per clip and method, with per-frame lists),
    videos/*.mp4 and strips/*.png (reference, landmarks, truth, result), and records/*.json, from which a killed
    call resumes. Nothing written depends on time or place. Raises ValueError when nothing is held out, the landmark
    models or drawings of model, data and this call differ, or a clip's files do not fit together.
    """
    held_out = read_held_out(index_path)
    clips = held_out.spread(config.clips)
    size = evaluated_size(held_out, config.size)
    terms = protocol(held_out, sampling, config.frames, config.size, variant, config)
    model_digest = folder_digest(model_dir)
    check_description(model_dir, landmark_model=held_out.landmark_model, landmark_variant=variant)
    records: list[ClipRecord] = []
    pipeline: Any = None
    with FaceLandmarker(landmarker.path, landmarker.model) as detector:
        check_landmark_model(held_out, detector)
        for place, entry in enumerate(clips, 1):
            label = f"evaluate {place}/{len(clips)} {entry.name}"
            key = _digest([SCHEMA, model_digest, terms, entry.clip, entry.val])
            record = _finished(out_dir, entry, key)
            if record is not None:
                log(f"{label}: already done")
            else:
                if pipeline is None:
                    pipeline = load_pipeline(model_dir, device)
                clip = load_clip(held_out, entry, config.frames, variant, config)
                scored = score_clip(pipeline, clip, detector, sampling, config.frames, size, held_out.geometry)
                record = _record(held_out, clip, scored, key, out_dir)
                log(f"{label}: {_line(record)}")
            records.append(record)
    result = summarise(records, terms)
    write_results(records, out_dir / "results.parquet")
    write_atomic(out_dir / "metrics.json", _json(result))
    return result


class EvaluateSettings(Config):
    """What is measured, and how results are sampled and drawn."""

    evaluation: EvaluationConfig
    sampling: SamplingConfig
    landmark_image: LandmarkImageConfig
    metrics: tuple[str, ...] = NAMES  # an evaluation without a metric of today's table is made anew
    metric_packages: tuple[str, ...] = installed()  # likewise once `pip install '.[metrics]'` was done


class EvaluateRow(Config):
    """How much was evaluated; the numbers are in metrics.json."""

    clips: int
    frames: int


class EvaluateWorker(Worker[ClipSet, EvaluateRow]):
    """Evaluation as a stage; its folder is kept over a kill, and finished clips are not done again."""

    def __init__(self, settings: EvaluateSettings, context: Context) -> None:
        self.settings, self.context = settings, context

    def process(self, item: Given[ClipSet]) -> EvaluateRow:
        """Read `clips/…` and `model/…`; write what `evaluate` does."""
        prepare_threads(self.context.runtime.threads)
        with training_index(item, self.context.landmarker) as index:
            metrics = evaluate(
                item.folder("model"),
                index,
                self.settings.evaluation,
                self.settings.sampling,
                self.context.landmarker,
                item.out,
                logger.info,
                variant=self.settings.landmark_image.variant,
                device=self.context.device,
            )
        return EvaluateRow(clips=metrics["protocol"]["clips"], frames=metrics["protocol"]["frames"])


def _settings(recipe: Recipe) -> EvaluateSettings:
    return EvaluateSettings(
        evaluation=recipe.evaluation, sampling=recipe.sampling, landmark_image=recipe.train.landmark_image
    )


EVALUATE = Stage(
    "evaluate",
    "2",
    settings=_settings,
    reads={"clips/*/video": Kind.CLIP, "clips/*/landmarks": Kind.LANDMARKS, "model/*": Kind.MODEL},
    writes={
        "metrics.json": Kind.EVALUATION,
        "results.parquet": Kind.EVALUATION,
        "records/*": Kind.EVALUATION,
        "strips/*": Kind.EVALUATION,
        "videos/*": Kind.EVALUATION,
    },
    row=EvaluateRow,
    open=EvaluateWorker,
    resources=Resources(gpus=1, memory_gib=8, pooled=False),
    resumable=True,
    tools=("torch", "diffusers"),
    uses_landmarker=True,
)


def file_stem(clip: str) -> str:
    """Name of a clip's files: its id, made harmless for any file system."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", clip).lstrip(".")[:100] or "clip"


def _record(held_out: HeldOut, clip: HeldOutClip, scored: ScoredClip, key: str, out_dir: Path) -> ClipRecord:
    """Write a clip's video and strip, then its record, which makes the clip count as done."""
    stem = file_stem(clip.clip)
    pair = scored.reenactment
    video, picture = f"videos/{stem}.mp4", f"strips/{stem}.png"
    (out_dir / "videos").mkdir(parents=True, exist_ok=True)
    write_video(out_dir / video, side_by_side(pair), held_out.fps, crf=_VIDEO_CRF)
    save_png(strip(pair, spread_frames(len(pair.truth), _STRIP_ROWS)), out_dir / picture)
    record = ClipRecord(
        clip=clip.clip,
        name=clip.name,
        subject=clip.subject,
        span=clip.span,
        reference=clip.reference,
        trained_on=clip.trained_on,
        not_driven=int((~clip.driven[1:]).sum()),
        motion=scored.motion,
        scores={"model": scored.model, "baseline": scored.baseline},
        truth_signals=scored.truth_signals,
        video=video,
        strip=picture,
    )
    files = {name: (out_dir / name).stat().st_size for name in (video, picture)}
    stored = {**record.to_json(), "schema": SCHEMA, "key": key, "files": files}
    write_atomic(out_dir / "records" / f"{stem}.json", _json(stored))
    return record


def _finished(out_dir: Path, entry: Entry, key: str) -> ClipRecord | None:
    """A clip's record of an earlier call, when it is whole and of the same key."""
    try:
        stored = json.loads((out_dir / "records" / f"{file_stem(entry.clip)}.json").read_text())
        whole = all((out_dir / name).stat().st_size == size for name, size in stored["files"].items())
        return ClipRecord.from_json(stored) if whole and stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


_TOLD = ("l1", "landmark_error", "expression_error", "expression_correlation")  # in the log, clip by clip


def _line(record: ClipRecord) -> str:
    def told(scores: ClipScores, name: str) -> str:
        return f"{scores.value(BY_NAME[name]):.4f}"

    model, baseline = record.scores["model"], record.scores["baseline"]
    return ", ".join(f"{name} {told(model, name)} (baseline {told(baseline, name)})" for name in _TOLD)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()
