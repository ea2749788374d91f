"""A run that only looks: what a flow would find done, and what it would do.

Nothing is computed, and nothing written but the hashes of source files that it had to read.

It takes the place of `Run` in the flows' wiring. Finished items are found by their receipts, as a run finds them, so
its answers are the run's. Where items are missing, the stages behind them are told as far as they can be known.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from fye_model.config import Recipe, Runtime
from tasks.engine.ahead import Plan
from tasks.engine.items import Facts, Item, Outcome, Row, StageResult
from tasks.engine.receipts import Receipts
from tasks.engine.stage import AnyStage, Settings, Stage
from tasks.engine.store import Store, is_missing
from tasks.faces.landmarker import LandmarkerAsset, resolve_landmarker
from tasks.workspace.earlier import written_by_another
from tasks.workspace.recipes import load_recipe
from tasks.workspace.registry import other_landmark_model, read_registry
from tasks.workspace.run import Run
from tasks.workspace.sources import Root, checked_root
from tasks.workspace.steps import Steps
from tasks.workspace.units import size_text, table_lines, time_text

logger = logging.getLogger(__name__)
_MOST_RECEIPTS = 200  # that an estimate looks at


class Unknown(Exception):
    """A stage that reads many clips cannot be planned before the clips that it waits for are made."""


@dataclass(frozen=True)
class Past:
    """What earlier items of a stage took: seconds of work and bytes of output each, on average."""

    seconds: float
    bytes: float


@dataclass(frozen=True)
class StagePlan:
    """What a run would do in a stage. `items` counts those known by now; `waiting` stands before them unfinished.

    to_do: the names of the items that would be made. past: of earlier items, None where there was none.
    """

    stage: AnyStage
    items: int
    cached: int
    quarantined: int
    to_do: tuple[str, ...]
    waiting: int
    past: Past | None
    known: bool = True

    @property
    def work(self) -> int:
        """Items to make, those that wait included: at least one where a whole stage waits."""
        if not self.known and not self.stage.resources.pooled:
            return 1
        return len(self.to_do) + self.waiting

    @property
    def missing(self) -> tuple[str, ...]:
        """What would be made, for people: `clips of talk`; a whole data set's item bears its stage's name."""
        stage = self.stage.name
        return tuple(stage if name == stage else f"{stage} of {name}" for name in self.to_do)

    def seconds(self, workers: int) -> float | None:
        """How long its work would take with so many workers; None where no earlier item tells."""
        if self.past is None:
            return None if self.work else 0.0
        together = max(1, min(workers, self.work)) if self.stage.resources.pooled else 1
        return self.work * self.past.seconds / together

    @property
    def bytes(self) -> float | None:
        """How much its outputs would add to the store."""
        if self.past is None:
            return None if self.work else 0.0
        return self.work * self.past.bytes


@dataclass(frozen=True)
class Located:
    """The items of a stage, with what a worker of it is opened with."""

    stage: AnyStage
    settings: Any
    items: Sequence[Item[Any]]


class Found(Exception):
    """The stage that was looked for, with its items."""

    def __init__(self, located: Located) -> None:
        super().__init__(located.stage.name)
        self.located = located


@dataclass
class PlannedRun(Run):
    """Stands in for a run. `more`: roots that the run would add; `wanted`: the stage to stop at with `Found`."""

    more: tuple[Root, ...] = ()
    wanted: str | None = None
    plans: list[StagePlan] = field(default_factory=list)
    waiting: int = 0  # items of earlier stages that are not made yet

    def roots(self) -> list[Root]:
        known = super().roots()
        return known + [root for root in self.more if root not in known]

    def stage(
        self, stage: Stage[Settings, Facts, Row], items: Sequence[Item[Facts]], plan: Plan | None = None
    ) -> StageResult[Row]:
        """The stage's result as far as it is in the store. Raises `Unknown` where a whole stage lacks something."""
        settings = stage.settings(self.recipe)
        if stage.name == self.wanted:
            raise Found(Located(stage, settings, items))
        whole = not stage.resources.pooled
        if whole and self.waiting:
            raise Unknown(stage.name)
        keys = stage.keys(self.store, settings, self.landmarker, items)
        receipts = Receipts(self.store, stage)
        again = stage.name in self.steps.force
        found = receipts.find_all(items, keys) if not again else [None] * len(items)
        outcomes = [outcome for outcome in found if outcome is not None]
        to_do = tuple(item.name for item, outcome in zip(items, found, strict=True) if outcome is None)
        aside = sum(not outcome.done for outcome in outcomes)
        past = past_of(self.store, stage)
        self.plans.append(StagePlan(stage, len(items), len(outcomes), aside, to_do, self.waiting, past))
        self.waiting += len(to_do)
        if (whole and to_do) or stage.name == self.steps.last:
            raise Unknown(stage.name)
        seconds = sum(outcome.seconds for outcome in outcomes)
        # nothing that only looks asks for the digest of what was found
        result: StageResult[Row] = StageResult(stage.name, outcomes, "", 0.0, seconds, 0, "Cached")
        self.results.append(result)
        return result

    def plan_rest(self, stages: Sequence[AnyStage]) -> None:
        """Add the stages of a flow that could not be looked at yet: their work is what the last items lead to."""
        seen = {plan.stage.name for plan in self.plans}
        items = max((plan.items + plan.waiting for plan in self.plans if plan.stage.resources.pooled), default=0)
        for stage in stages:
            if stage.name not in seen:
                waiting = items if stage.resources.pooled else 1
                past = past_of(self.store, stage)
                self.plans.append(StagePlan(stage, 0, 0, 0, (), waiting, past, known=False))


def open_planned(
    work: str,
    recipe: str,
    overrides: list[str],
    runtime: Runtime,
    more: Sequence[Root] = (),
    wanted: str | None = None,
    steps: Steps | None = None,
) -> PlannedRun:
    """A run that only looks. Raises ValueError for a work folder that is not there, or of another landmark model."""
    if is_missing(work):
        raise ValueError(f"there is no work folder {work} yet, so nothing is done there; the first run makes it")
    store = Store(work)
    if notice := written_by_another(store):
        logger.warning("%s", notice)
    resolved: Recipe = load_recipe(recipe, overrides)
    asset: LandmarkerAsset = resolve_landmarker(runtime.assets)
    if (known := read_registry(store).landmark_model) not in (None, asset.model):
        raise other_landmark_model(store, str(known), asset.model)
    roots = tuple(checked_root(root) for root in more)
    return PlannedRun(store, resolved, runtime, asset, more=roots, wanted=wanted, steps=steps or Steps())


def past_of(store: Store, stage: AnyStage) -> Past | None:
    """What earlier items of a stage took by their receipts, of whatever settings; None where there is none."""
    receipts: list[Outcome[Any]] = []
    for folder in store.names(f"items/{stage.name}"):
        outcome = Receipts(store, stage).look(f"items/{stage.name}/{folder}")
        if outcome is not None and outcome.done:
            receipts.append(outcome)
        if len(receipts) == _MOST_RECEIPTS:
            break
    if not receipts:
        return None
    sizes = [sum(size for size, _ in outcome.files.values()) for outcome in receipts]
    return Past(fmean(outcome.seconds for outcome in receipts), fmean(sizes))


def plan_lines(run: PlannedRun) -> Iterator[str]:
    """The plan as a table for people: a line a stage, then the sums and what they are made of."""
    workers = run.runtime.workers
    rows = [("stage", "items", "cached", "set aside", "to do", "takes", "time", "disk")]
    for plan in run.plans:
        resources = plan.stage.resources
        waits = f"{len(plan.to_do)} + {plan.waiting} waiting" if plan.waiting and plan.known else str(len(plan.to_do))
        counts = (str(plan.items), str(plan.cached - plan.quarantined), str(plan.quarantined), waits)
        if not plan.known:
            counts = ("?", "?", "?", f"at most {plan.work}")
        rows.append((plan.stage.name, *counts, str(resources), time_text(plan.seconds(workers)), size_text(plan.bytes)))
    yield from table_lines(rows)
    yield from _sums(run)


def _sums(run: PlannedRun) -> Iterator[str]:
    working = [plan for plan in run.plans if plan.work]
    if not working:
        yield "Everything is done: a run would find every stage cached."
        return
    untold = [plan.stage.name for plan in working if plan.past is None]
    told = [plan for plan in working if plan.past is not None]
    seconds = sum(plan.seconds(run.runtime.workers) or 0.0 for plan in told)
    size = sum(plan.bytes or 0.0 for plan in told)
    if told:
        yield f"About {time_text(seconds)} and {size_text(size)}, by what earlier items took{_free(run.store)}."
    if untold:
        yield f"Nothing tells the time of {', '.join(untold)}: no item of them is done in this work folder."
    names = [name for plan in working for name in plan.missing]
    yield f"To do first: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}."


def _free(store: Store) -> str:
    if store.local_root is None:
        return ""
    return f"; {size_text(shutil.disk_usage(store.local_root).free)} are free"
