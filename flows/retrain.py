"""The full retrain: videos in, an evaluated, animated model and its report out."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.ending import finish_run, stopping
from flows.promoting import offered_model
from flows.running import running
from flows.wiring import evaluate_model, prepare_data, report_on, retrain_results, train_model
from fye_model.config import Runtime
from tasks.workspace.promoted import offer
from tasks.workspace.recipes import check_weights
from tasks.workspace.run import open_run
from tasks.workspace.sources import Root, register_root
from tasks.workspace.steps import Steps


@flow(name="retrain", flow_run_name="retrain {recipe} in {work}", log_prints=False)
def retrain(
    videos: str | None = None,
    source: str | None = None,
    follow_links: bool = False,
    work: str = "work/retrain",
    recipe: str = "paper",
    overrides: list[str] | None = None,
    runtime: Runtime | None = None,
    steps: Steps | None = None,
) -> Any:
    """Train on every video of the work folder's data set, after adding `videos` to it, and evaluate the result.

    Args:
        videos: a folder of videos to add to the data set; None uses the data set as it stands.
        source: what they are of: a name of `fye sources list`, or the path of a source.yaml.
        follow_links: take what links to files and folders elsewhere lead to.
        work: the work folder, or any fsspec address: everything is kept there, and an interrupted run goes on from it.
        recipe: `paper`, `demo`, `debug` or a YAML file.
        overrides: settings on top of the recipe, as `key.path=value`.
        runtime: workers, devices and limits: what changes speed, never results.
        steps: a part of the run alone: up to a stage, one stage, one made again, the first videos.
    """
    run = open_run(work, recipe, overrides or [], runtime or Runtime(), steps)
    check_weights(run.recipe)
    with running(run, "retrain"), stopping(run, "retrain") as stopped:
        if videos is not None:
            register_root(run.store, Root(videos, None, source, follow_links))
        data = prepare_data(run, training=run)
        model = train_model(run, data)
        evaluation = evaluate_model(run, model.clips, model.files)
        report = report_on(run, data, model, evaluation)
        results = retrain_results(run, data, model, evaluation, report)
        offer(run.store, offered_model(run, model, results))
        return finish_run(run, "retrain", results)
    return stopped.state
