"""Held-out evaluation of a model folder: reenact, score beside the trivial baseline, and leave tables and pictures.

A plain function. Its folder may be half-filled by an earlier, killed call: clips whose record is complete and was made
under the same key are not done again, and the outputs come out the same.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fye_model.animation.description import check_description
from fye_model.animation.folder import load_pipeline
from fye_model.config import Config, EvaluationConfig, LandmarkImageConfig, Recipe, SamplingConfig
from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.metric import Metric
from fye_model.evaluation.reenact import Reenactment
from fye_model.evaluation.scores import ClipScores
from fye_model.evaluation.table import METRICS, NAMES
from fye_model.evaluation.tools import MetricTools
from fye_model.files import folder_digest, json_digest, write_json
from fye_model.landmarks.drawing import Variant
from fye_model.pictures import read_pictures
from fye_model.training.pack import check_reenacted
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Worker
from tasks.engine.progress import counted
from tasks.engine.stage import Context, Stage
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LANDMARK_TOOLS, LandmarkerAsset
from tasks.media.read import write_video
from tasks.results.cross_tables import CrossRecord, summarise_cross
from tasks.results.crossing import CrossClip, CrossPair, ScoredCross, cross_pairs, load_cross, score_cross, why_none
from tasks.results.pictures import COLUMNS, CROSS_COLUMNS, save_png, side_by_side, spread_frames, strip
from tasks.results.records import METHODS, ClipRecord, Json
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
    reenacted: Path | None = None,
) -> Json:
    """Evaluate the model in `model_dir` on the held-out spans of the training index; returns what metrics.json holds.

    Self reenactment of every clip, and cross reenactment between people where two or more are held out.
    landmarker: its model must be the one of the index. variant: how landmarks are drawn, as in training. reenacted: a
    folder of what the model made of all this elsewhere (`fye_model/training/away.py`), which is then scored. Writes
    into `out_dir`: metrics.json, results.parquet (a row per clip and method, with per-frame lists), videos/*.mp4 and
    strips/*.png (reference, landmarks, truth, result), records/*.json, from which a killed call resumes, and the same
    three of the pairs in cross/. Nothing written depends on time or place. Raises ValueError when nothing is held out,
    the landmark models or drawings of model, data and this call differ, or a clip's files do not fit together.
    """
    held_out = read_held_out(index_path)
    clips = held_out.spread(config.clips)
    pairs = cross_pairs(held_out, clips, config.cross_pairs)
    terms = protocol(held_out, sampling, config.frames, config.size, variant, config)
    check_description(model_dir, landmark_model=held_out.landmark_model, landmark_variant=variant)
    if reenacted is not None:
        check_reenacted(reenacted, folder_digest(model_dir), sampling, config)
    pipeline = cache(lambda: load_pipeline(model_dir, device))  # where every clip is done already, it is not needed

    def load(name: str) -> Any:
        return pipeline() if reenacted is None else Replayed(reenacted / f"{file_stem(name)}.parquet")

    with FaceLandmarker(landmarker.path, landmarker.model) as detector:
        check_landmark_model(held_out, detector)
        job = _Job(held_out, config, sampling, variant, detector, load, [folder_digest(model_dir), terms], out_dir, log)
        records = [job.clip(entry, f"{place}/{len(clips)}") for place, entry in enumerate(clips, 1)]
        crossed = [job.pair(pair, f"{place}/{len(pairs)}") for place, pair in enumerate(pairs, 1)]
    cross = summarise_cross(crossed, None if crossed else why_none(held_out, config.cross_pairs))
    result = {**summarise(records, terms), "cross": cross}
    write_results(records, out_dir / "results.parquet")
    write_json(out_dir / "metrics.json", result)
    return result


@dataclass(frozen=True)
class _Job:
    """One evaluation: what its clips and pairs share.

    load: the pipeline for a clip or pair of this id; key: what all records depend on.
    """

    held_out: HeldOut
    config: EvaluationConfig
    sampling: SamplingConfig
    variant: Variant
    detector: FaceLandmarker
    load: Callable[[str], Any]
    key: list[Any]
    out_dir: Path
    log: Callable[[str], None]

    @property
    def size(self) -> int:
        return evaluated_size(self.held_out, self.config.size)

    def clip(self, entry: Entry, place: str) -> ClipRecord:
        """One clip's record, from an earlier call or made now."""
        label, kept = f"evaluate {place} {entry.name}", f"records/{file_stem(entry.clip)}.json"
        key = json_digest([SCHEMA, *self.key, entry.clip, entry.val])
        record = _finished(self.out_dir, kept, key, ClipRecord.from_json)
        if record is not None:
            self.log(f"{label}: already done")
            return record
        clip = load_clip(self.held_out, entry, self.config.frames, self.variant, self.config)
        terms = (self.sampling, self.config.frames, self.size, self.held_out.geometry)
        scored = score_clip(self.load(entry.clip), clip, self.detector, *terms)
        record = _record(clip, scored, *self._pictures("", entry.clip, scored.reenactment))
        self._keep(kept, key, record)
        self.log(f"{label}: {_line(record.scores, METRICS, _TOLD)}")
        return record

    def pair(self, pair: CrossPair, place: str) -> CrossRecord:
        """One pair's record, likewise."""
        label, kept = f"evaluate cross {place} {pair.name}", f"cross/records/{file_stem(pair.id)}.json"
        key = json_digest([SCHEMA, *self.key, pair.id, pair.portrait.val, pair.driver.val])
        record = _finished(self.out_dir, kept, key, CrossRecord.from_json)
        if record is not None:
            self.log(f"{label}: already done")
            return record
        clip = load_cross(self.held_out, pair, self.config.frames, self.variant, self.config, self.sampling)
        scored = score_cross(self.load(pair.id), clip, self.detector, self.sampling, self.size, self.held_out.geometry)
        record = _cross_record(clip, scored, *self._pictures("cross/", pair.id, scored.reenactment, CROSS_COLUMNS))
        self._keep(kept, key, record)
        self.log(f"{label}: {_line(record.scores, CROSS_METRICS, _CROSS_TOLD)}")
        return record

    def _pictures(self, folder: str, name: str, pair: Reenactment, columns: Sequence[str] = COLUMNS) -> tuple[str, str]:
        """Write a reenactment's video and strip; returns their places in the output folder."""
        stem = file_stem(name)
        video, picture = f"{folder}videos/{stem}.mp4", f"{folder}strips/{stem}.png"
        (self.out_dir / video).parent.mkdir(parents=True, exist_ok=True)
        write_video(self.out_dir / video, side_by_side(pair), self.held_out.fps, crf=_VIDEO_CRF)
        save_png(strip(pair, spread_frames(len(pair.truth), _STRIP_ROWS), columns), self.out_dir / picture)
        return video, picture

    def _keep(self, name: str, key: str, record: ClipRecord | CrossRecord) -> None:
        """Write a record, which makes its clip or pair count as done."""
        files = {file: (self.out_dir / file).stat().st_size for file in (record.video, record.strip)}
        write_json(self.out_dir / name, {**record.to_json(), "schema": SCHEMA, "key": key, "files": files})


class EvaluateSettings(MetricTools):
    """What is measured, and how results are sampled and drawn."""

    evaluation: EvaluationConfig
    sampling: SamplingConfig
    landmark_image: LandmarkImageConfig
    # an evaluation without a metric of today's tables is made anew
    metrics: tuple[str, ...] = NAMES
    cross_metrics: tuple[str, ...] = tuple(metric.name for metric in CROSS_METRICS)


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
                counted(logger.info),
                variant=self.settings.landmark_image.variant,
                device=self.context.device,
                reenacted=item.folder("reenacted") if "reenacted/about.json" in item.files else None,
            )
        return EvaluateRow(clips=metrics["protocol"]["clips"], frames=metrics["protocol"]["frames"])


def _settings(recipe: Recipe) -> EvaluateSettings:
    return EvaluateSettings(
        evaluation=recipe.evaluation, sampling=recipe.sampling, landmark_image=recipe.train.landmark_image
    )


EVALUATE = Stage(
    "evaluate",
    "5",
    settings=_settings,
    reads={
        "clips/*/video": Kind.CLIP,
        "clips/*/landmarks": Kind.LANDMARKS,
        "model/*": Kind.MODEL,
        "reenacted/*?": Kind.REENACTED,
    },
    writes={
        "metrics.json": Kind.EVALUATION,
        "results.parquet": Kind.EVALUATION,
        "records/*": Kind.EVALUATION,
        "strips/*": Kind.EVALUATION,
        "videos/*": Kind.EVALUATION,
        "cross/*?": Kind.EVALUATION,
    },
    row=EvaluateRow,
    open=EvaluateWorker,
    resources=Resources(gpus=1, memory_gib=8, pooled=False),
    resumable=True,
    tools=(*LANDMARK_TOOLS, "torch", "diffusers"),
    uses_landmarker=True,
)


class Replayed:
    """Stands where a pipeline does, and returns the frames that it made elsewhere, from a file of pictures."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f"{path}: no such file; the training machine did not reenact this clip: pack it again")
        self.frames = read_pictures(path).astype(np.float32) / 255

    def __call__(self, *arguments: object, **options: object) -> Replayed:
        return self


def file_stem(clip: str) -> str:
    """Name of a clip's files: its id, made harmless for any file system."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", clip).lstrip(".")[:100] or "clip"


def _record(clip: HeldOutClip, scored: ScoredClip, video: str, picture: str) -> ClipRecord:
    return ClipRecord(
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


def _cross_record(clip: CrossClip, scored: ScoredCross, video: str, picture: str) -> CrossRecord:
    pair = clip.pair
    return CrossRecord(
        pair=pair.id,
        name=pair.name,
        portrait=pair.portrait.clip,
        driver=pair.driver.clip,
        subjects=(pair.portrait.subject, pair.driver.subject),
        span=clip.span,
        reference=clip.reference,
        aligned=clip.aligned,
        not_driven=clip.not_driven,
        motion=scored.motion,
        scores={"model": scored.model, "baseline": scored.baseline},
        video=video,
        strip=picture,
    )


Record = TypeVar("Record")


def _finished(out_dir: Path, name: str, key: str, read: Callable[[Json], Record]) -> Record | None:
    """A record of an earlier call, when it is whole and of the same key."""
    try:
        stored = json.loads((out_dir / name).read_text())
        whole = all((out_dir / file).stat().st_size == size for file, size in stored["files"].items())
        return read(stored) if whole and stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


# in the log, clip by clip
_TOLD = ("l1", "landmark_error", "expression_error", "expression_correlation")
_CROSS_TOLD = ("identity", "landmark_ap_placed", "expression_change_error", "expression_correlation")


def _line(scores: Mapping[str, ClipScores], metrics: Sequence[Metric], names: Sequence[str]) -> str:
    known = {metric.name: metric for metric in metrics}
    model, baseline = ({name: scores[method].value(known[name]) for name in names} for method in METHODS)
    return ", ".join(f"{name} {model[name]:.4f} (baseline {baseline[name]:.4f})" for name in names)
