"""Which stage reads what: the wiring that the flows share. Logic belongs in `tasks`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect.states import Completed, State
from tasks.encoders import ENCODERS, encoder_files
from tasks.latents import LATENTS

from tasks.clips import CLIPS
from tasks.dataset import Clip, clip_items, cut_clips, kept_clips, per_clip_items, whole_inputs, with_outputs
from tasks.evaluate import EVALUATE
from tasks.ingest import INGEST
from tasks.landmarks import LANDMARKS
from tasks.outcome import Item, StageResult
from tasks.report import REPORT, publish_report
from tasks.run import Run, data_summary, show, write_summary
from tasks.screening import SCREENING, screening_item
from tasks.select import SELECT
from tasks.sources import ingest_items, registered_roots, scan, set_aside
from tasks.store import FileRef
from tasks.train import STAGE1, STAGE2, output_files

__all__ = ["data_summary", "end", "evaluate_model", "prepare_data", "report", "train_model"]


@dataclass(frozen=True)
class Data:
    """The data half's results: every clip with landmarks, those that screening kept, and its verdicts."""

    clips: list[Clip]
    kept: list[Clip]
    screened: StageResult


@dataclass(frozen=True)
class Model:
    """The training half's results: the encoders' files, both stages' checkpoints and the selected model."""

    clips: list[Clip]  # with latents
    encoders: dict[str, FileRef]
    stage1: StageResult
    stage2: StageResult
    selected: StageResult


def prepare_data(run: Run) -> Data:
    """Sources → normalised videos → square clips → landmarks and masks → screening and split."""
    recipe, landmarker = run.recipe, run.landmarker
    sources = scan(run.store, registered_roots(run.store))
    run.set_aside = set_aside(sources)
    ingested = run.stage(INGEST, ingest_items(sources), ingest=recipe.ingest)
    cut = run.stage(CLIPS, clip_items(ingested), clips=recipe.clips, landmarker=landmarker)
    clips = cut_clips(cut, sources)
    marked = run.stage(
        LANDMARKS, per_clip_items(clips, "video", "frames"), landmarks=recipe.landmarks, landmarker=landmarker
    )
    clips = with_outputs(clips, marked, landmarks="landmarks.parquet", masks="masks.parquet")
    screened = run.stage(SCREENING, [screening_item(clips, marked)], screening=recipe.screening, split=recipe.split)
    return Data(clips, kept_clips(clips, screened), screened)


def train_model(run: Run, data: Data) -> Model:
    """Autoencoder → latents → stage 1 → stage 2 → selection."""
    recipe = run.recipe
    fitted = run.stage(
        ENCODERS,
        [run.whole("encoders", data.kept, whole_inputs(data.kept, "video", "landmarks", "masks"))],
        autoencoder=recipe.autoencoder,
        image_encoder=recipe.image_encoder,
    )
    encoders = encoder_files(fitted)
    encoded = run.stage(LATENTS, per_clip_items(data.kept, "video", "landmarks", **encoders))
    clips = with_outputs(data.kept, encoded, latents="latents.safetensors")
    inputs = whole_inputs(clips, "landmarks", "masks", "latents") | encoders
    shared = {"networks": recipe.networks, "noise": recipe.noise, "train": recipe.train}
    stage1 = run.stage(STAGE1, [run.whole("stage 1", clips, inputs)], **shared)
    start = output_files(stage1, "stage1")
    stage2 = run.stage(STAGE2, [run.whole("stage 2", clips, inputs | start)], **shared)
    checkpoints = start | output_files(stage2, "stage2")
    selected = run.stage(
        SELECT,
        [run.whole("selection", clips, whole_inputs(clips, "video") | inputs | checkpoints)],
        selection=recipe.selection,
        sampling=recipe.sampling,
        noise=recipe.noise,
    )
    return Model(clips, encoders, stage1, stage2, selected)


def evaluate_model(run: Run, data: Data, model: Model) -> StageResult:
    """Self reenactment of the held-out spans by the selected model."""
    inputs = whole_inputs(model.clips, "video", "landmarks", "masks", "latents") | output_files(model.selected, "model")
    return run.stage(
        EVALUATE,
        [run.whole("evaluation", model.clips, inputs)],
        evaluation=run.recipe.evaluation,
        sampling=run.recipe.sampling,
    )


def report(run: Run, data: Data, model: Model, evaluation: StageResult) -> dict[str, Any]:
    """The report, and the run's results for its summary."""
    inputs = output_files(evaluation, "evaluation") | output_files(model.selected, "selection")
    inputs |= output_files(model.stage1, "stage1", "metrics.jsonl") | output_files(
        model.stage2, "stage2", "metrics.jsonl"
    )
    written = run.stage(REPORT, [run.report_item(inputs)])
    return publish_report(run.store, written, evaluation, model.selected)


def end(run: Run, flow: str, **results: Any) -> State[Any]:
    """Write and show the summary; the flow's state says whether anything was set aside."""
    summary = write_summary(run, flow, **results)
    show(run, summary)
    return Completed(name=run.status, message=f"{summary['quarantined']} quarantined", data=summary)


__all__ += ["Data", "Item", "Model"]
