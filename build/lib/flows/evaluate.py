"""Evaluation of a model folder on videos that it has not seen."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.ending import finish_run
from flows.wiring import evaluate_folder, evaluation_results
from fye_model.config import Runtime
from tasks.workspace.run import open_run, recorded
from tasks.workspace.sources import Root, register_root


@flow(name="evaluate", flow_run_name="evaluate {model} in {work}", log_prints=False)
def evaluate(
    model: str,
    videos: str | None = None,
    work: str = "work/evaluate",
    recipe: str = "paper",
    overrides: list[str] | None = None,
    runtime: Runtime | None = None,
) -> Any:
    """Self reenactment on every frame of the given videos: tables, strips, side-by-side videos.

    Args:
        model: a model folder, as `retrain` selects and `animate` reads it.
        videos: a folder of videos to add to those this work folder evaluates on.
        work: the work folder, or any fsspec address; keep it apart from a training one.
        recipe: `paper`, `demo` or a YAML file: the one that the model was trained with.
        overrides: settings on top of the recipe, as `key.path=value`.
        runtime: workers, devices and limits: what changes speed, never results.
    """
    run = open_run(work, recipe, [*(overrides or []), "split.by=all"], runtime or Runtime())
    with recorded(run, "evaluate"):
        if videos is not None:
            register_root(run.store, Root(videos))
        return finish_run(run, "evaluate", evaluation_results(run, *evaluate_folder(run, model)))
