"""The paper's Table 2: the method and its variants trained on the same data, side by side."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.ending import finish_run
from flows.running import running
from flows.wiring import evaluate_model, prepare_data, train_model, with_data
from fye_model.config import Runtime
from tasks.workspace.ablated import Finished, publish_ablation
from tasks.workspace.recipes import check_weights
from tasks.workspace.run import open_run
from tasks.workspace.sources import Root, register_root
from tasks.workspace.variants import variants_of


@flow(name="ablate", flow_run_name="ablate {recipe} in {work}", log_prints=False)
def ablate(
    videos: str | None = None,
    source: str | None = None,
    follow_links: bool = False,
    work: str = "work/retrain",
    recipe: str = "paper",
    overrides: list[str] | None = None,
    variants: list[str] | None = None,
    seeds: int = 1,
    runtime: Runtime | None = None,
) -> Any:
    """Train, select and evaluate a recipe and the same without one of its parts; every stage that does not differ once.

    Args:
        videos: a folder of videos to add to the data set; None uses the data set as it stands.
        source: what they are of: a name of `fye sources list`, or the path of a source.yaml.
        follow_links: take what links to files and folders elsewhere lead to.
        work: the work folder of a retrain, whose data and model are then the full method's, or a new one.
        recipe: `paper`, `demo`, `debug` or a YAML file: the full method.
        overrides: settings on top of the recipe, as `key.path=value`.
        variants: names of `fye_model/ablations.py`; None is all of them. The full method is always among them.
        seeds: how many seeds of training each variant has, the recipe's own first.
        runtime: workers, devices and limits: what changes speed, never results.
    """
    run = open_run(work, recipe, overrides or [], runtime or Runtime())
    check_weights(run.recipe)
    wanted = variants_of(run.recipe, variants or [], seeds)
    with running(run, "ablate"):
        if videos is not None:
            register_root(run.store, Root(videos, None, source, follow_links))
        data = prepare_data(run, training=run)
        finished = []
        for variant in wanted:
            before = len(run.results)
            part = run.with_recipe(variant.recipe)
            model = train_model(part, data)
            evaluation = evaluate_model(part, model.clips, model.files)
            winner = model.selected.only.row.winner
            finished.append(Finished(variant, winner, evaluation.only, tuple(run.results[before:])))
        return finish_run(run, "ablate", with_data(run, data, publish_ablation(run, finished)))
