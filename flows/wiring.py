"""Which stage reads what: the wiring that the flows share. Logic belongs in `tasks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fye_model.animation.folder import check_model
from fye_model.training.pack import REENACTED
from fye_model.training.records import LATENTS_FILE
from tasks.clips import CLIPS, clip_items, cut_clips
from tasks.encoders import ENCODERS
from tasks.engine.ahead import Plan
from tasks.engine.items import StageResult
from tasks.engine.store import FileRef
from tasks.evaluate import EVALUATE, EvaluateRow
from tasks.footage.shards import Shard
from tasks.jobs.clips_ahead import clips_ahead, encoder_files, encoder_items, latent_items, lip_items
from tasks.landmarks import LANDMARKS, LandmarkFacts, LandmarkRow
from tasks.latents import LATENTS, training_clips
from tasks.lip_sync import LIPSYNC, LipSyncRow, check_weights
from tasks.report import REPORT, ReportFacts, ReportRow, report_item, told_of
from tasks.screening import SCREENING, ScreeningRow, data_summary, kept_clips, screening_item
from tasks.select import SELECT, SelectRow
from tasks.train import STAGE1, STAGE2, TrainRow, all_checkpoints, best_checkpoint, first_checkpoint
from tasks.workspace.changes import note_sources
from tasks.workspace.dataset import Clip, folder_inputs, per_clip_items, whole_inputs, with_outputs
from tasks.workspace.decisions import read_decisions
from tasks.workspace.history import previous_run
from tasks.workspace.licences import licences
from tasks.workspace.publish import publish_evaluation, publish_report
from tasks.workspace.recipes import dump_recipe
from tasks.workspace.run import Run
from tasks.workspace.sources import scan, set_aside
from tasks.workspace.summary import DataSummary, Results, note_changes


@dataclass(frozen=True)
class Data:
    """The data half's results: every clip with landmarks, and the verdicts on them."""

    clips: list[Clip]
    verdicts: ScreeningRow

    def kept(self) -> list[Clip]:
        """The clips that screening kept, with their spans; ValueError when none is left."""
        return kept_clips(self.clips, self.verdicts)

    def summary(self) -> DataSummary:
        return data_summary(self.clips, self.verdicts)


@dataclass(frozen=True)
class Model:
    """The training half's results."""

    clips: list[Clip]  # the kept ones, with latents
    encoders: Mapping[str, FileRef]  # `vae/…`, `image_encoder/…`
    stage1: StageResult[TrainRow]
    stage2: StageResult[TrainRow]
    selected: StageResult[SelectRow]

    @property
    def files(self) -> dict[str, FileRef]:
        """The selected model folder's files, as `model/…`."""
        return self.selected.only.refs("model/")


def prepare_clips(
    run: Run, shard: Shard | None = None, ahead: Callable[[list[Clip]], Plan | None] = lambda clips: None
) -> tuple[list[Clip], StageResult[LandmarkRow]]:
    """Sources (of a shard) → square clips → landmarks and masks.

    ahead: plans what is made of clips while others still wait for landmarks.
    """
    check_weights(run.recipe.lip_sync, LIPSYNC.name in run.steps.named())  # before hours of work, not behind them
    run.sources = sources = run.steps.limited(scan(run.store, run.roots(), shard))
    run.set_aside = set_aside(sources)
    clips = cut_clips(run.stage(CLIPS, clip_items(sources)), sources)
    facts = LandmarkFacts(factor=run.recipe.autoencoder.factor)
    marked = run.stage(LANDMARKS, per_clip_items(clips, facts, "video", "frames"), ahead(clips))
    made = {"landmarks": "landmarks.parquet", "masks": "masks.parquet", "thumbnails": "thumbnails.npy"}
    return with_outputs(clips, marked, **made), marked


def score_lips(run: Run, clips: list[Clip]) -> StageResult[LipSyncRow] | None:
    """How far each clip's sound is from its lips; None where the recipe names no weights for it."""
    if run.recipe.lip_sync.weights is None:
        return None
    return run.stage(LIPSYNC, lip_items(clips))


def prepare_data(run: Run, training: Run | None = None) -> Data:
    """Sources → square clips → landmarks and masks → screening and split.

    training: the run that goes on to train on them, where there is one.
    """
    clips, marked = prepare_clips(run, ahead=partial(clips_ahead, run, training))
    item = screening_item(clips, marked, read_decisions(run.store), score_lips(run, clips))
    return Data(clips, run.stage(SCREENING, [item]).only.row)


def train_model(run: Run, data: Data, start: Mapping[str, FileRef] | None = None) -> Model:
    """Autoencoder and image encoder → latents → stage 1 → stage 2 → selection.

    start: the checkpoint, `init/…`, that stage 1 goes on from, instead of from the recipe's weights.
    """
    kept = data.kept()
    fitted = run.stage(ENCODERS, encoder_items(run, kept))
    encoders = encoder_files(fitted.only)
    encoded = run.stage(LATENTS, latent_items(kept, encoders))
    clips, crops = with_outputs(kept, encoded, latents=LATENTS_FILE), training_clips(kept, encoded)
    inputs = whole_inputs(crops, "landmarks", "masks", "latents")
    decoder = fitted.only.refs("vae/") if run.runtime.previews else {}
    stage1 = run.stage(STAGE1, run.one_item("stage 1", crops, inputs | dict(start or {}), decoder))
    stage2 = run.stage(STAGE2, run.one_item("stage 2", crops, inputs | best_checkpoint(stage1, "init"), decoder))
    inputs = whole_inputs(clips, "video", "landmarks") | encoders | first_checkpoint(stage1) | all_checkpoints(stage2)
    return Model(clips, encoders, stage1, stage2, run.stage(SELECT, run.one_item("selection", clips, inputs)))


def evaluate_model(run: Run, clips: list[Clip], model: Mapping[str, FileRef]) -> StageResult[EvaluateRow]:
    """Self reenactment of the clips' held-out spans by a model folder."""
    inputs = whole_inputs(clips, "video", "landmarks") | dict(model)
    return run.stage(EVALUATE, run.one_item("evaluation", clips, inputs))


def evaluate_folder(run: Run, model: str) -> tuple[Data, StageResult[EvaluateRow]]:
    """Self reenactment of every frame of the work folder's videos by a model folder."""
    check_model(Path(model))
    data = prepare_data(run)
    clips = kept_clips(data.clips, data.verdicts, "val")
    return data, evaluate_model(run, clips, folder_inputs(run.store, Path(model), "model"))


def evaluate_away(run: Run, away: str) -> tuple[Data, StageResult[EvaluateRow]]:
    """Scores of the held-out spans as a machine that trained on this data set's pack has reenacted them."""
    output = Path(away)
    check_model(output / "model")
    data = prepare_data(run)
    made = folder_inputs(run.store, output / "model", "model")
    made |= folder_inputs(run.store, output / REENACTED, "reenacted")
    return data, evaluate_model(run, data.kept(), made)


def report_on(run: Run, data: Data, model: Model, evaluation: StageResult[EvaluateRow]) -> StageResult[ReportRow]:
    """The report on a training run."""
    curves = {"curves/stage 1": model.stage1.only.ref("metrics.jsonl")}
    curves |= {"curves/stage 2": model.stage2.only.ref("metrics.jsonl")}
    inputs = curves | evaluation.only.refs("", under="evaluation/") | model.selected.only.refs("selection")
    settings = dump_recipe(run.recipe)
    past = previous_run(run.store, evaluation.only)
    inputs |= past.refs(run.store, under="previous/") if past is not None else {}
    facts = ReportFacts(
        flow="retrain",
        recipe=run.recipe.name,
        landmark_model=run.landmarker.model,
        status=run.status,
        stages=run.lines(),
        data=data.summary(),
        quarantine=tuple(run.quarantined()),
        settings=settings,
        licences=licences(run.recipe, run.landmarker, run.sources),
        previous=told_of(past, settings),
    )
    return run.stage(REPORT, [report_item(facts, inputs)])


def retrain_results(
    run: Run, data: Data, model: Model, evaluation: StageResult[EvaluateRow], report: StageResult[ReportRow]
) -> Results:
    """What a retrain hands to people, put where they look for it."""
    return with_data(run, data, publish_report(run, report.only, evaluation.only, model.selected.only))


def evaluation_results(run: Run, data: Data, evaluation: StageResult[EvaluateRow]) -> Results:
    """What an evaluation hands to people, put where they look for it."""
    return with_data(run, data, publish_evaluation(run, evaluation.only))


def with_data(run: Run, data: Data, results: Results | None = None) -> Results:
    """The results with the data set's part: what it holds, and what came and went since the last run.

    A run that takes only some of the videos says nothing of what came and went.
    """
    if run.steps.limit is not None:
        return (results or Results()).model_copy(update={"data": data.summary()})
    kept = {entry.clip: entry.name for entry in data.verdicts.kept}
    added, removed = note_changes(run.store, kept, {clip.id for clip in data.clips})
    held = data.summary().model_copy(update={"added": added, "removed": removed})
    changes = note_sources(run.store, run.sources)
    return (results or Results()).model_copy(update={"data": held, "sources": changes})
