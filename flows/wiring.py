"""Which stage reads what: the wiring that the flows share. Logic belongs in `tasks`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.states import Completed, State

from fye_model.animation.folder import check_model
from tasks.clips import CLIPS
from tasks.encoders import ENCODERS
from tasks.engine.items import StageResult
from tasks.engine.store import FileRef
from tasks.evaluate import EVALUATE
from tasks.ingest import INGEST
from tasks.landmarks import LANDMARKS
from tasks.latents import LATENTS
from tasks.report import REPORT
from tasks.screening import SCREENING, screening_item
from tasks.select import SELECT
from tasks.train import STAGE1, STAGE2, all_checkpoints, best_checkpoint, first_checkpoint, stage_configs
from tasks.workspace.dataset import (
    Clip,
    clip_items,
    cut_clips,
    folder_inputs,
    kept_clips,
    per_clip_items,
    whole_inputs,
    with_outputs,
)
from tasks.workspace.publish import publish_evaluation, publish_report, report_item
from tasks.workspace.run import Run, data_changes, data_summary, show, write_summary
from tasks.workspace.sources import ingest_items, registered_roots, scan, set_aside


@dataclass(frozen=True)
class Data:
    """The data half's results: every clip with landmarks, and the verdicts on them."""

    clips: list[Clip]
    screened: StageResult

    def kept(self) -> list[Clip]:
        """The clips that screening kept, with their spans; ValueError when none is left."""
        return kept_clips(self.clips, self.screened)


@dataclass(frozen=True)
class Model:
    """The training half's results."""

    clips: list[Clip]  # the kept ones, with latents
    stage1: StageResult
    stage2: StageResult
    selected: StageResult

    @property
    def files(self) -> dict[str, FileRef]:
        """The selected model folder's files, as `model/…`."""
        return self.selected.only.refs("model/")


def prepare_data(run: Run) -> Data:
    """Sources → normalised videos → square clips → landmarks and masks → screening and split."""
    recipe = run.recipe
    sources = scan(run.store, registered_roots(run.store))
    run.set_aside = set_aside(sources)
    ingested = run.stage(INGEST, ingest_items(sources), ingest=recipe.ingest)
    cut = run.stage(CLIPS, clip_items(ingested), clips=recipe.clips)
    clips = cut_clips(cut, sources)
    marked = run.stage(LANDMARKS, per_clip_items(clips, "video", "frames"), landmarks=recipe.landmarks)
    clips = with_outputs(clips, marked, landmarks="landmarks.parquet", masks="masks.parquet")
    item = screening_item(clips, marked)
    return Data(clips, run.stage(SCREENING, [item], screening=recipe.screening, split=recipe.split))


def train_model(run: Run, data: Data) -> Model:
    """Autoencoder and image encoder → latents → stage 1 → stage 2 → selection."""
    recipe, kept = run.recipe, data.kept()
    shared = {"networks": recipe.networks, "noise": recipe.noise}
    whole = run.whole("encoders", kept, whole_inputs(kept, "video", "landmarks"))
    fitted = run.stage(ENCODERS, [whole], autoencoder=recipe.autoencoder, image_encoder=recipe.image_encoder)
    encoders = fitted.only.refs("vae/") | fitted.only.refs("image_encoder/")
    encoded = run.stage(LATENTS, per_clip_items(kept, "video", "landmarks", **encoders), latents=recipe.latents)
    clips = with_outputs(kept, encoded, latents="latents.safetensors")
    inputs = whole_inputs(clips, "landmarks", "masks", "latents")
    stage1 = run.stage(STAGE1, [run.whole("stage 1", clips, inputs)], **shared, **stage_configs(recipe.train, 1))
    start = best_checkpoint(stage1, "init")
    stage2 = run.stage(
        STAGE2, [run.whole("stage 2", clips, inputs | start)], **shared, **stage_configs(recipe.train, 2)
    )
    inputs |= whole_inputs(clips, "video") | encoders | first_checkpoint(stage1) | all_checkpoints(stage2)
    parts = {name: getattr(recipe, name) for name in ("selection", "sampling", "evaluation", "noise")}
    whole = run.whole("selection", clips, inputs)
    parts |= {"landmark_image": recipe.train.landmark_image, "clips": recipe.clips, "landmarks": recipe.landmarks}
    selected = run.stage(SELECT, [whole], **parts)
    return Model(clips, stage1, stage2, selected)


def evaluate_model(run: Run, clips: list[Clip], model: dict[str, FileRef]) -> StageResult:
    """Self reenactment of the clips' held-out spans by a model folder."""
    inputs = whole_inputs(clips, "video", "landmarks") | model
    parts = {"evaluation": run.recipe.evaluation, "sampling": run.recipe.sampling}
    whole = run.whole("evaluation", clips, inputs)
    return run.stage(EVALUATE, [whole], **parts, landmark_image=run.recipe.train.landmark_image)


def evaluate_folder(run: Run, model: str) -> dict[str, Any]:
    """Self reenactment of every frame of the work folder's videos by a model folder."""
    check_model(Path(model))
    data = prepare_data(run)
    clips = kept_clips(data.clips, data.screened, "val")
    evaluation = evaluate_model(run, clips, folder_inputs(run.store, Path(model), "model"))
    return publish_evaluation(run, evaluation.only) | summarise_data(run, data)


def write_report(run: Run, data: Data, model: Model, evaluation: StageResult) -> dict[str, Any]:
    """The report on a training run, put where people look for it; returns the run's results."""
    curves = {"curves/stage 1": model.stage1.only.ref("metrics.jsonl")}
    curves |= {"curves/stage 2": model.stage2.only.ref("metrics.jsonl")}
    inputs = curves | evaluation.only.refs("", under="evaluation/") | model.selected.only.refs("selection")
    written = run.stage(REPORT, [report_item(run, inputs, data.clips, data.screened)])
    return publish_report(run, written.only, evaluation.only, model.selected.only) | summarise_data(run, data)


def summarise_data(run: Run, data: Data) -> dict[str, Any]:
    """The data set's part of the summary."""
    held = data_summary(data.clips, data.screened)
    return {"data": held | data_changes(run.store, data.clips, data.screened)}


def end(run: Run, flow: str, **results: Any) -> State[Any]:
    """Write and show the summary; the flow's state says whether anything was set aside."""
    summary = write_summary(run, flow, **results)
    show(run, summary)
    return Completed(name=run.status, message=f"{summary['quarantined']} quarantined", data=summary)
