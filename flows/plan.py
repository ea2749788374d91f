"""Flows that are looked at instead of run: what each would do, and the items of one of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flows.wiring import evaluate_folder, evaluate_model, prepare_data, report_on, train_model
from fye_model.config import Runtime
from tasks.engine.stage import AnyStage
from tasks.lip_sync import LIPSYNC, check_weights
from tasks.plan import STAGES, stage_named
from tasks.workspace.planned import Found, Located, PlannedRun, Unknown, open_planned
from tasks.workspace.sources import Root
from tasks.workspace.steps import Steps

if TYPE_CHECKING:
    from flows.options import FlowName

_DATA = ("clips", "landmarks", "lip_sync", "screening")


def stages_of(flow: FlowName) -> Sequence[AnyStage]:
    """The stages that a flow goes through, in order."""
    if flow == "retrain":
        return STAGES
    names = (*_DATA, "evaluate") if flow == "evaluate" else _DATA
    return [stage_named(name) for name in names]


def walk(run: PlannedRun, flow: FlowName, model: Path | None = None) -> None:
    """Send a run that only looks through a flow's wiring. Raises `Unknown` where it cannot look further."""
    if flow == "evaluate":
        evaluate_folder(run, str(model))
        return
    data = prepare_data(run)
    if flow == "retrain":
        trained = train_model(run, data)
        report_on(run, data, trained, evaluate_model(run, trained.clips, trained.files))


def plan(
    flow: FlowName,
    work: str,
    recipe: str,
    overrides: list[str],
    runtime: Runtime,
    more: Sequence[Root] = (),
    model: Path | None = None,
    steps: Steps | None = None,
) -> PlannedRun:
    """What a flow would find done and what it would do. Computes nothing, writes nothing but remembered file hashes."""
    run = open_planned(work, recipe, overrides, runtime, more, steps=steps)
    with suppress(Unknown):
        walk(run, flow, model)
    scored = run.recipe.lip_sync.weights is not None
    stages = [stage for stage in stages_of(flow) if stage is not LIPSYNC or scored]
    if run.steps.last is not None:
        stages = stages[: [stage.name for stage in stages].index(run.steps.last) + 1]
    run.plan_rest(stages)
    return run


def locate(stage: str, work: str, recipe: str, overrides: list[str], runtime: Runtime) -> tuple[PlannedRun, Located]:
    """The items of one stage of the retrain, as the next run would give them to it.

    Raises ValueError when an earlier stage has to be run first.
    """
    run = open_planned(work, recipe, overrides, runtime, wanted=stage_named(stage).name)
    check_weights(run.recipe.lip_sync, asked=stage == LIPSYNC.name)
    try:
        walk(run, "retrain")
    except Found as found:
        return run, found.located
    except Unknown:
        pass
    first = next(plan for plan in run.plans if plan.to_do)
    raise ValueError(
        f"{stage} cannot be tried yet: {first.missing[0]} is not done in {work} with these "
        "settings; run fye retrain (or fye refresh, for the data) with the same --recipe and --set first"
    )
