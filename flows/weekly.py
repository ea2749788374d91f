"""The weekly retrain: the data set brought up to date, a model trained on it, and put to use only if it is better."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow

from flows.ending import finish_run
from flows.promoting import offered_model, settle_promotion
from flows.running import running
from flows.wiring import evaluate_model, prepare_data, report_on, retrain_results, train_model
from fye_model.config import Runtime
from tasks.workspace.promoted import current_model
from tasks.workspace.promoting import continued
from tasks.workspace.recipes import check_weights
from tasks.workspace.run import open_run
from tasks.workspace.sources import Root, register_root


@flow(name="retrain-weekly", flow_run_name="retrain-weekly {recipe} in {work}", log_prints=False, persist_result=True)
def retrain_weekly(
    videos: str | None = None,
    source: str | None = None,
    follow_links: bool = False,
    work: str = "work/retrain",
    recipe: str = "paper",
    overrides: list[str] | None = None,
    runtime: Runtime | None = None,
    start: Literal["nothing", "last"] = "nothing",
    approval: bool = False,
) -> Any:
    """Refresh, train, evaluate, and promote the model if it is better than the one in use, by the recipe's rule.

    Args:
        videos: a further folder of videos for the data set; None looks again at those that it has.
        source: what they are of: a name of `fye sources list`, or the path of a source.yaml.
        follow_links: take what links to files and folders elsewhere lead to.
        work: the work folder, or any fsspec address: everything is kept there, `promoted.json` too.
        recipe: `paper`, `demo`, `debug` or a YAML file; `promotion` in it has the rule.
        overrides: settings on top of the recipe, as `key.path=value`.
        runtime: workers, devices and limits: what changes speed, never results.
        start: train from the recipe's weights (`nothing`), or go on from the model in use (`last`) with its encoders.
        approval: ask a person before a better model is promoted.
    """
    run = open_run(work, recipe, overrides or [], runtime or Runtime())
    check_weights(run.recipe)
    with running(run, "retrain-weekly"):
        if videos is not None:
            register_root(run.store, Root(videos, None, source, follow_links))
        last = current_model(run.store) if start == "last" else None
        training = run if last is None else continued(run, last)
        data = prepare_data(run, training)
        model = train_model(training, data, None if last is None else last.refs("init/"))
        evaluation = evaluate_model(run, model.clips, model.files)
        report = report_on(run, data, model, evaluation)
        results = retrain_results(run, data, model, evaluation, report)
        line = settle_promotion(run, model, evaluation, offered_model(run, model, results), approval)
        return finish_run(run, "retrain-weekly", results.model_copy(update={"promotion": line}))
