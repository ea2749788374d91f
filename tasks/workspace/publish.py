"""What a run hands to people: report, animated video and model at fixed places of the work folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from fye_model.files import replace_link
from tasks.engine.items import Outcome
from tasks.engine.store import Store
from tasks.results.tables import nested_means
from tasks.results.verdict import FEW_CLIPS, verdict
from tasks.workspace.history import note_run
from tasks.workspace.recipes import dump_recipe
from tasks.workspace.run import Run
from tasks.workspace.summary import Results

REPORT_FOLDER = "report"
EVALUATION_FOLDER = "evaluation"
MODEL_LINK = "model"
ANIMATION_LINK = "animation.mp4"  # to the first clip's video, whose own name is the clip's id


def publish_report(run: Run, report: Outcome[Any], evaluation: Outcome[Any], selected: Outcome[Any]) -> Results:
    """Put report and video at their fixed places, link the model, and return the run's results for its summary.

    The run is remembered for the reports of later ones.
    """
    store = run.store
    _copy(store, report, REPORT_FOLDER)
    results = publish_evaluation(run, evaluation)
    model = f"{selected.folder}/model"
    if store.local_root is not None:
        link_model(store.local_root / MODEL_LINK, model)
    choice = store.read_json(selected.ref("selection.json").path)
    outputs = {
        "report": place_of(store, f"{REPORT_FOLDER}/report.html"),
        "checkpoint": place_of(store, MODEL_LINK if store.local_root is not None else model),
        **(results.outputs or {}),
    }
    note_run(
        store,
        evaluation,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe=run.recipe.name,
        checkpoint=choice["winner"],
        settings=dump_recipe(run.recipe),
    )
    if store.local_root is not None and (video := (results.outputs or {}).get("animation")):
        outputs["animation"] = place_of(store, ANIMATION_LINK)
        replace_link(store.local_root / ANIMATION_LINK, str(Path(video).relative_to(store.local_root)))
    shown = {name: choice[name] for name in ("rule", "rows", "first", "baseline", "beats_first")}
    quality = _quality(store.read_json(evaluation.ref("metrics.json").path), choice)
    found = {"selected_checkpoint": choice["winner"], "selection": shown, "verdict": quality, "outputs": outputs}
    return results.model_copy(update=found)


def publish_evaluation(run: Run, evaluation: Outcome[Any]) -> Results:
    """Put the evaluation's tables, records, strips and videos at their fixed place; returns its numbers."""
    store = run.store
    metrics = store.read_json(evaluation.ref("metrics.json").path)
    _copy(store, evaluation, EVALUATION_FOLDER)
    videos = sorted(name for name in evaluation.files if name.startswith("videos/"))
    return Results(
        metrics=nested_means(metrics["model"]),
        baseline=nested_means(metrics["baseline"]),
        beats_baseline=metrics["beats_baseline"],
        missing_metrics=metrics["missing"],
        verdict=_quality(metrics, {"beats_baseline": {}}),
        cross=_crossed(metrics["cross"]),
        outputs={
            "animation": place_of(store, f"{EVALUATION_FOLDER}/{videos[0]}"),
            "evaluation": place_of(store, EVALUATION_FOLDER),
            "summary": place_of(store, "summary.json"),
        },
    )


def _quality(metrics: Mapping[str, Any], selection: Mapping[str, Any]) -> str:
    """The verdict in one sentence, and a second one where too little was measured to say more."""
    first, *others = verdict(metrics, selection)
    few = [line["text"] for line in others if metrics["protocol"]["clips"] < FEW_CLIPS][-1:]
    return " ".join([first["word"], first["text"], *few])


def _crossed(cross: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Cross reenactment as summaries tell it: its numbers, or why there are none."""
    if "left_out" in cross:
        return {"left_out": cross["left_out"]}
    told = {name: cross[name] for name in ("pairs", "people", "missing")}
    return {**told, "metrics": nested_means(cross["model"]), "baseline": nested_means(cross["baseline"])}


def link_model(link: Path, model: str) -> None:
    """Link the model, also where copying a work folder has made the link a folder. ValueError for what is no model."""
    if link.is_dir() and not link.is_symlink():
        if not (link / "model_index.json").is_file():
            raise ValueError(f"{link} is in the way of the link to the run's model, and no model: move it elsewhere")
        shutil.rmtree(link)
    replace_link(link, model)


def _copy(store: Store, outcome: Outcome[Any], folder: str) -> None:
    for name, ref in outcome.refs("").items():
        store.write_bytes(f"{folder}/{name}", store.read_bytes(ref.path))


def place_of(store: Store, rel: str) -> str:
    """Where something of a work folder lies, for people: a path, or an address."""
    return str(store.local_root / rel) if store.local_root is not None else f"{store.url.rstrip('/')}/{rel}"
