"""What a run hands to people: report, animated video and model at fixed places of the work folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tasks.engine.items import Item, Outcome, StageResult
from tasks.engine.store import FileRef, Store
from tasks.results.tables import nested_means
from tasks.workspace.dataset import Clip
from tasks.workspace.run import Run, data_summary

REPORT_FOLDER = "report"
EVALUATION_FOLDER = "evaluation"
MODEL_LINK = "model"


def report_item(run: Run, inputs: dict[str, FileRef], clips: list[Clip], screened: StageResult) -> Item:
    """The report stage's item. Counts and seconds of the run change only its wording, so they are not in its key."""
    summary = {
        "flow": "retrain",
        "recipe": run.recipe.name,
        "landmark_model": run.landmarker.model,
        "status": run.status,
        "stages": [result.counts() for result in run.results],
        "data": data_summary(clips, screened),
    }
    return Item("report", "report", inputs, {"quarantine": run.quarantined()}, {"summary": summary})


def publish_report(run: Run, report: Outcome, evaluation: Outcome, selected: Outcome) -> dict[str, Any]:
    """Put report and video at their fixed places, link the model, and return the run's results for its summary."""
    store = run.store
    _copy(store, report, REPORT_FOLDER)
    results = publish_evaluation(run, evaluation)
    model = f"{selected.folder}/model"
    if store.local_root is not None:
        _link(store.local_root / MODEL_LINK, model)
    choice = store.read_json(selected.ref("selection.json").path)
    return {
        **results,
        "selected_checkpoint": choice["winner"],
        "selection": {name: choice[name] for name in ("rule", "rows", "first", "baseline", "beats_first")},
        "outputs": {
            "report": _place(store, f"{REPORT_FOLDER}/report.html"),
            "checkpoint": _place(store, MODEL_LINK if store.local_root is not None else model),
            **results["outputs"],
        },
    }


def publish_evaluation(run: Run, evaluation: Outcome) -> dict[str, Any]:
    """Put the evaluation's tables, strips and videos at their fixed place; returns its numbers for the summary."""
    store = run.store
    metrics = store.read_json(evaluation.ref("metrics.json").path)
    _copy(store, evaluation, EVALUATION_FOLDER)
    videos = sorted(name for name in evaluation.files if name.endswith(".mp4"))
    return {
        "metrics": nested_means(metrics["model"]),
        "baseline": nested_means(metrics["baseline"]),
        "beats_baseline": metrics["beats_baseline"],
        "missing_metrics": metrics["missing"],
        "outputs": {
            "animation": _place(store, f"{EVALUATION_FOLDER}/{videos[0]}"),
            "evaluation": _place(store, EVALUATION_FOLDER),
            "summary": _place(store, "summary.json"),
        },
    }


def _copy(store: Store, outcome: Outcome, folder: str) -> None:
    for name, ref in outcome.refs("").items():
        if not name.startswith("records/"):
            store.write_bytes(f"{folder}/{name}", store.read_bytes(ref.path))


def _place(store: Store, rel: str) -> str:
    return str(store.local_root / rel) if store.local_root is not None else f"{store.url.rstrip('/')}/{rel}"


def _link(link: Path, target: str) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, link)
