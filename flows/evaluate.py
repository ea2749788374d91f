"""Evaluation of a model folder on videos that it has not seen."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.ending import finish_run
from flows.running import running
from flows.wiring import evaluate_away, evaluate_folder, evaluation_results
from fye_model.config import Runtime
from tasks.workspace.run import open_run
from tasks.workspace.sources import Root, register_root


@flow(name="evaluate", flow_run_name="evaluate in {work}", log_prints=False)
def evaluate(
    model: str | None = None,
    videos: str | None = None,
    work: str = "work/evaluate",
    recipe: str = "paper",
    overrides: list[str] | None = None,
    runtime: Runtime | None = None,
    away: str | None = None,
) -> Any:
    """Self reenactment on every frame of the given videos: tables, strips, side-by-side videos.

    Args:
        model: a model folder, as `retrain` selects and `animate` reads it.
        videos: a folder of videos to add to those this work folder evaluates on.
        work: the work folder, or any fsspec address; keep it apart from a training one.
        recipe: `paper`, `demo` or a YAML file: the one that the model was trained with.
        overrides: settings on top of the recipe, as `key.path=value`.
        runtime: workers, devices and limits: what changes speed, never results.
        away: instead of `model` and `videos`, the output of a machine that trained on this work folder's pack: its
            reenactments of the held-out spans are scored.
    """
    if (model is None) == (away is None):
        raise ValueError("give model, a model folder, or away, the output of training on a pack: one of the two")
    split = ["split.by=all"] if away is None else []
    run = open_run(work, recipe, [*(overrides or []), *split], runtime or Runtime())
    with running(run, "evaluate"):
        if videos is not None:
            register_root(run.store, Root(videos))
        found = evaluate_folder(run, model) if model is not None else evaluate_away(run, str(away))
        return finish_run(run, "evaluate", evaluation_results(run, *found))
