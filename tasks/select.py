"""Selection among checkpoints: reenact a few held-out clips with each, rank by a declared rule, assemble the winner.

The small reenactment has the same protocol as the evaluation, only shorter. Its clips are held out from training but
not from this choice, which the result says.
"""

from __future__ import annotations

import io
import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.animation.description import Crop, ModelDescription
from fye_model.animation.folder import FrozenParts, assemble_pipeline, save_model
from fye_model.config import (
    Config,
    EvaluationConfig,
    LandmarkImageConfig,
    NoiseConfig,
    Recipe,
    SamplingConfig,
    SelectionConfig,
)
from fye_model.evaluation.aggregate import aggregate, compare, is_better
from fye_model.evaluation.ranking import RULE, order, weighted_ranks
from fye_model.evaluation.scores import COUNTS, ClipScores
from fye_model.evaluation.table import BY_NAME, METRICS, NAMES
from fye_model.evaluation.tools import MetricTools
from fye_model.files import write_atomic, write_json
from fye_model.landmarks.drawing import Variant
from fye_model.landmarks.mouths import measure_mouths
from fye_model.landmarks.placement import FacePlacement, measure_placement
from fye_model.landmarks.poses import measure_poses
from fye_model.landmarks.table import LandmarkSequence, read_landmarks
from fye_model.training.records import validation_loss
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Worker
from tasks.engine.progress import counted
from tasks.engine.stage import Context, Stage
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LANDMARK_TOOLS, LandmarkerAsset
from tasks.results.records import Json, number
from tasks.results.reenactment import (
    HeldOut,
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
from tasks.results.tables import table_to_json
from tasks.train import STAGE2
from tasks.workspace.dataset import ClipSet

logger = logging.getLogger(__name__)
SCHEMA = 2
MODEL_FOLDER = "model"


def select(
    checkpoints: Mapping[str, Path],
    index_path: Path,
    config: SelectionConfig,
    sampling: SamplingConfig,
    evaluation: EvaluationConfig,
    parts: FrozenParts,
    landmarker: LandmarkerAsset,
    out_dir: Path,
    log: Callable[[str], None] = print,
    *,
    crop_margin: float,
    max_gap_frames: int,
    first: tuple[str, Path] | None = None,
    variant: Variant = "expression_aware",
    device: str = "cpu",
) -> Json:
    """Rank `checkpoints` (name -> folder, in training's order) and put the winner together as a model folder.

    Each needs its `validation.json` {"loss": ...} of training. `first`, name and folder, is the checkpoint that shows
    where training came from; it is measured like the others but not ranked, as its loss may be of another stage's
    task. By default it is the first of those ranked. `crop_margin` and `max_gap_frames` are those of the data set's
    clips and landmarks, which the model folder says of itself. Writes selection.json, selection.parquet,
    selection.png and the folder model/ into `out_dir`. Returns what selection.json holds: the rule, a row per
    checkpoint, the winner's name, the first checkpoint's row, the baseline of the same protocol, and whether the
    winner beats both. Raises ValueError for no checkpoints, a missing or non-finite loss, or nothing held out.
    """
    if not checkpoints:
        raise ValueError("no checkpoints to choose from: training wrote none (see its log)")
    losses = [validation_loss(checkpoint) for checkpoint in checkpoints.values()]
    held_out = read_held_out(index_path)
    shorter = sampling.model_copy(update={"steps": config.sampling_steps})
    everything = dict(checkpoints) | dict([first] if first is not None else [])
    clips = [load_clip(held_out, entry, config.frames, variant, evaluation) for entry in held_out.spread(config.clips)]
    with FaceLandmarker(landmarker.path, landmarker.model) as detector:
        check_landmark_model(held_out, detector)

        def reenact(checkpoint: Path) -> list[ScoredClip]:
            pipeline, size = assemble_pipeline(checkpoint, parts, device), evaluated_size(held_out, evaluation.size)
            terms = (detector, shorter, config.frames, size, held_out.geometry)
            return [score_clip(pipeline, clip, *terms) for clip in clips]

        measured, repeated = _measure(everything, reenact, log)
    terms = protocol(held_out, shorter, config.frames, evaluation.size, variant, evaluation)
    terms |= {"clips": len(clips), "clip_ids": [clip.clip for clip in clips]}
    result = _ranked(measured, repeated, losses, config, terms)
    description = _described(result["winner"], held_out, variant, index_path, crop_margin, max_gap_frames, sampling)
    _write(out_dir, result, assemble_pipeline(checkpoints[result["winner"]], parts, "cpu"), description)
    return result


def _described(
    winner: str,
    held_out: HeldOut,
    variant: Variant,
    index_path: Path,
    crop_margin: float,
    max_gap_frames: int,
    sampling: SamplingConfig,
) -> ModelDescription:
    """What the model folder says of itself."""
    clips = json.loads(index_path.read_text(encoding="utf-8"))["clips"]
    people = {clip["subject"] for clip in clips if clip["train"][0] < clip["train"][1]}
    return ModelDescription(
        checkpoint=winner,
        landmark_model=held_out.landmark_model,
        landmark_variant=variant,
        size=held_out.size,
        fps=held_out.fps,
        crop=Crop(margin=crop_margin, faces=faces_in_clips(index_path)),
        max_gap_frames=max_gap_frames,
        sampling=sampling,
        poses=measure_poses(_landmarks(index_path)),
        mouths=measure_mouths(_landmarks(index_path)),
        people=len(people) or None,
    )


class SelectSettings(MetricTools):
    """The ranking, the small reenactment, and what the model folder keeps."""

    selection: SelectionConfig
    sampling: SamplingConfig
    evaluation: EvaluationConfig
    noise: NoiseConfig
    landmark_image: LandmarkImageConfig
    crop_margin: float
    max_gap_frames: int
    metrics: tuple[str, ...] = NAMES  # a selection without a metric of today's table is made anew


class SelectRow(Config):
    """The checkpoint that was chosen, as `<stage>/<checkpoint>`."""

    winner: str


class SelectWorker(Worker[ClipSet, SelectRow]):
    """Selection as a stage: stage 2's checkpoints are ranked, stage 1's first one shows where training came from."""

    def __init__(self, settings: SelectSettings, context: Context) -> None:
        self.settings, self.context = settings, context

    def process(self, item: Given[ClipSet]) -> SelectRow:
        """Rank the checkpoints in `checkpoints/<stage>/<checkpoint>/…` and write what `select` does."""
        settings, landmarker = self.settings, self.context.landmarker
        found = {
            name.removeprefix("checkpoints/").removesuffix("/meta.json"): path.parent
            for name, path in sorted(item.files.items())
            if name.startswith("checkpoints/") and name.endswith("/meta.json")
        }
        ranked = {name: path for name, path in found.items() if name.startswith(f"{STAGE2.name}/")}
        earlier = [(name, path) for name, path in found.items() if name not in ranked]
        prepare_threads(self.context.runtime.threads)
        with training_index(item, landmarker) as index:
            result = select(
                ranked,
                index,
                settings.selection,
                settings.sampling,
                settings.evaluation,
                FrozenParts(item.folder("vae"), item.folder("image_encoder"), settings.noise),
                landmarker,
                item.out,
                counted(logger.info),
                crop_margin=settings.crop_margin,
                max_gap_frames=settings.max_gap_frames,
                first=earlier[0] if earlier else None,
                variant=settings.landmark_image.variant,
                device=self.context.device,
            )
        return SelectRow(winner=result["winner"])


def _settings(recipe: Recipe) -> SelectSettings:
    return SelectSettings(
        selection=recipe.selection,
        sampling=recipe.sampling,
        evaluation=recipe.evaluation,
        noise=recipe.noise,
        landmark_image=recipe.train.landmark_image,
        crop_margin=recipe.clips.margin,
        max_gap_frames=recipe.landmarks.max_gap_frames,
    )


def faces_in_clips(index_path: Path) -> FacePlacement:
    """Where faces lie in the clips of a training index, held-out ones included: all were cut alike."""
    return measure_placement(_landmarks(index_path))


def _landmarks(index_path: Path) -> Iterator[LandmarkSequence]:
    for clip in json.loads(index_path.read_text(encoding="utf-8"))["clips"]:
        yield read_landmarks(index_path.parent / clip["landmarks"])


SELECT = Stage(
    "select",
    "8",
    settings=_settings,
    reads={
        "clips/*/landmarks": Kind.LANDMARKS,
        "clips/*/video": Kind.CLIP,
        "vae/*": Kind.AUTOENCODER,
        "image_encoder/*": Kind.IMAGE_ENCODER,
        "checkpoints/*": Kind.CHECKPOINT,
    },
    writes={
        "model/*": Kind.MODEL,
        "selection.json": Kind.SELECTION,
        "selection.parquet": Kind.SELECTION,
        "selection.png": Kind.SELECTION,
    },
    row=SelectRow,
    open=SelectWorker,
    resources=Resources(gpus=1, memory_gib=8, pooled=False),
    tools=(*LANDMARK_TOOLS, "torch", "diffusers"),
    uses_landmarker=True,
)


def _ranked(
    measured: Mapping[str, Sequence[ClipScores]],
    repeated: Sequence[ClipScores],
    losses: Sequence[float],
    config: SelectionConfig,
    terms: Json,
) -> Json:
    """What selection.json holds. One measured checkpoint more than there are losses: it is the first, not ranked."""
    rows = [
        {"checkpoint": name, "step": _step(name, place), **_table(scores)}
        for place, (name, scores) in enumerate(measured.items(), 1)
    ]
    origin = rows.pop() if len(rows) > len(losses) else rows[0]
    best, baseline = _rank(rows, losses, config), _table(repeated)
    return {
        "schema": SCHEMA,
        "rule": RULE.format(loss=config.loss_weight, expression=config.expression_weight),
        "protocol": terms,
        "rows": rows,
        "winner": best["checkpoint"],
        "first": origin,
        "baseline": baseline,
        "beats_baseline": _beats(best, baseline),
        "against_baseline": _against(measured[best["checkpoint"]], repeated),
        "beats_first": None if best is origin else _beats(best, origin),
        "note": "The clips of this table are held out from training, but the winner was chosen on them.",
    }


def _write(out_dir: Path, result: Json, winner: Any, description: ModelDescription) -> None:
    """The model folder, the tables and the picture; last selection.json, which says that all the rest is there."""
    from tasks.results.plots import selection_png  # matplotlib is slow to import

    out_dir.mkdir(parents=True, exist_ok=True)
    save_model(winner, out_dir / MODEL_FOLDER, description)
    _write_parquet(result["rows"], out_dir / "selection.parquet")
    write_atomic(out_dir / "selection.png", selection_png(result["rows"], result["baseline"], result["first"]))
    write_json(out_dir / "selection.json", result)


def _rank(rows: list[Json], losses: Sequence[float], config: SelectionConfig) -> Json:
    """Add loss, score and rank to every row; returns the winner's."""
    errors = [number(row["expression_error"]) for row in rows]
    scores = weighted_ranks(losses, errors, config.loss_weight, config.expression_weight)
    for row, loss, score in zip(rows, losses, scores, strict=True):
        row |= {"loss": loss, "score": score}
    places = order(scores, [number(row["l1"]) for row in rows])
    for place, index in enumerate(places, 1):
        rows[index]["rank"] = place
    return rows[places[0]]


def _measure(
    checkpoints: Mapping[str, Path], reenact: Callable[[Path], list[ScoredClip]], log: Callable[[str], None]
) -> tuple[dict[str, list[ClipScores]], list[ClipScores]]:
    """Every checkpoint's scores by its name, and the repeated reference's, which are the same for all."""
    measured: dict[str, list[ClipScores]] = {}
    repeated: list[ClipScores] = []
    for place, (name, checkpoint) in enumerate(checkpoints.items(), 1):
        scored = reenact(checkpoint)
        measured[name], repeated = [item.model for item in scored], [item.baseline for item in scored]
        log(f"select {place}/{len(checkpoints)} {name}: {_line(_table(measured[name]), _table(repeated))}")
    return measured, repeated


def _line(row: Json, baseline: Json) -> str:
    names = ("l1", "landmark_error", "expression_error", "expression_correlation")
    return ", ".join(f"{name} {number(row[name]):.4f} (baseline {number(baseline[name]):.4f})" for name in names)


def _table(scores: Sequence[ClipScores]) -> Json:
    """Every metric's mean by its name, the counts, and the intervals of those that have one."""
    table = table_to_json(aggregate(scores))
    intervals = {name: cell["ci95"] for name, cell in table.items() if name in BY_NAME and cell["ci95"] is not None}
    return {
        **{metric.name: table[metric.name]["mean"] for metric in METRICS},
        **{name: table[name] for name in COUNTS},
        "intervals": intervals,
    }


def _beats(ours: Json, theirs: Json) -> dict[str, bool | None]:
    return {metric.name: is_better(metric.name, ours[metric.name], theirs[metric.name]) for metric in METRICS}


def _against(ours: Sequence[ClipScores], theirs: Sequence[ClipScores]) -> dict[str, str]:
    """Metric -> better, worse or cannot tell, by the paired interval over the selection's clips."""
    return {metric.name: compare(metric, ours, theirs).outcome for metric in METRICS}


_ENDS = ((0, "low"), (1, "high"))  # of an interval


def _end(row: Json, name: str, place: int) -> float:
    """One end of a metric's interval; NaN where there is none, as on one clip."""
    interval = row["intervals"].get(name)
    return math.nan if interval is None else float(interval[place])


def _write_parquet(rows: Sequence[Json], path: Path) -> None:
    plain = [
        {
            **{name: row[name] for name in ("checkpoint", "step", "rank", *COUNTS)},
            **{name: float(row[name]) for name in ("loss", "score")},
            **{metric.column: number(row[metric.name]) for metric in METRICS},
            **{f"{metric.column}_{end}": _end(row, metric.name, place) for metric in METRICS for place, end in _ENDS},
        }
        for row in rows
    ]
    table = pa.Table.from_pylist(plain).replace_schema_metadata({"schema_version": "fye-selection-3"})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue())


def _step(name: str, number: int) -> int:
    digits = re.search(r"(\d+)$", name)
    return int(digits.group(1)) if digits else number
