"""What one run of a flow carries from stage to stage."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fye_model.config import Recipe, Runtime
from fye_model.devices import RunDevice
from tasks.engine.ahead import Ahead, Plan
from tasks.engine.items import Facts, Item, Outcome, Row, StageResult
from tasks.engine.receipts import Receipts, item_folder
from tasks.engine.stage import Settings, Stage
from tasks.engine.store import FileRef, Store
from tasks.faces.landmarker import LandmarkerAsset, resolve_landmarker
from tasks.workspace.dataset import Clip, ClipSet, clip_set
from tasks.workspace.earlier import written_by_another
from tasks.workspace.kept_runs import INTERRUPTED, STARTED, keep_run
from tasks.workspace.recipes import load_recipe
from tasks.workspace.registry import claim_landmark_model
from tasks.workspace.sources import Root, Source, registered_roots
from tasks.workspace.steps import Steps, Stopped
from tasks.workspace.summary import ManifestRow, QuarantineRow, Results, StageLine, Summary, row_text, write_tables

COMPLETED = "Completed"
WITH_QUARANTINE = "CompletedWithQuarantine"
FAILED = "Failed"
logger = logging.getLogger(__name__)


@dataclass
class Run:
    """The store, the settings and the landmark model of one run, and the results of its stages so far."""

    store: Store
    recipe: Recipe
    runtime: Runtime
    landmarker: LandmarkerAsset
    sources: list[Source] = field(default_factory=list)  # every file below the roots
    set_aside: list[Outcome[Any]] = field(default_factory=list)  # sources that never became items
    results: list[StageResult[Any]] = field(default_factory=list)
    made_ahead: dict[str, set[str]] = field(default_factory=dict)  # of stages that have not had their turn: keys
    begun: float = field(default_factory=time.monotonic)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    name: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    steps: Steps = field(default_factory=Steps)
    device: RunDevice = field(init=False)

    def __post_init__(self) -> None:
        self.device = RunDevice(self.runtime.device)

    def with_recipe(self, recipe: Recipe) -> Run:
        """The same run, in which the stages that come next follow another recipe. What is found is found by both."""
        other = replace(self, recipe=recipe)
        other.device = self.device
        return other

    def roots(self) -> list[Root]:
        """The folders that the data set is made of."""
        return registered_roots(self.store)

    def stage(
        self, stage: Stage[Settings, Facts, Row], items: Sequence[Item[Facts]], plan: Plan | None = None
    ) -> StageResult[Row]:
        """Run a stage with its part of the recipe; remember its result. `plan`: what is made of its outcomes meanwhile.

        Raises `Stopped` after the last stage that is wanted, and ValueError where one before the only one wanted has
        something to do.
        """
        settings = stage.settings(self.recipe)
        if stage.name in self.steps.force:
            for key in stage.keys(self.store, settings, self.landmarker, items):
                self.store.delete(f"{item_folder(stage, key)}/receipt.json")
        elif self.steps.only not in (None, stage.name) and (missing := self.to_do(stage, items)):
            raise ValueError(
                f"--only {self.steps.only}: {stage.name} before it is not done ({len(missing)} items, such as "
                f"{missing[0]}); run the same with --until {stage.name} first"
            )
        ahead = None
        if plan is not None and self.runtime.ahead is not False:
            ahead = Ahead(self.store, self.runtime, self.device, self.landmarker, plan, self.made_ahead)
        result = stage.run(self.store, self.runtime, items, settings, self.landmarker, self.device, ahead)
        result = self._with_made_ahead(result)
        self.results.append(result)
        if stage.name == self.steps.last:
            raise Stopped(stage.name)
        return result

    def _with_made_ahead(self, result: StageResult[Row]) -> StageResult[Row]:
        """The result, in which what this run made before the stage's turn counts as made in this run."""
        made = self.made_ahead.pop(result.stage, None)
        if made is None:
            return result
        used = len(made & {outcome.key for outcome in result.outcomes})
        told = "%s: %d of its %d items were made ahead, and %d for nothing"
        logger.info(told, result.stage, used, len(result.outcomes), len(made) - used)
        return replace(result, fresh=result.fresh + used)

    def to_do(self, stage: Stage[Settings, Facts, Row], items: Sequence[Item[Facts]]) -> list[str]:
        """The names of the items that a run of the stage would make."""
        keys = stage.keys(self.store, stage.settings(self.recipe), self.landmarker, items)
        found = Receipts(self.store, stage).find_all(items, keys, tell=False)
        return [item.name for item, outcome in zip(items, found, strict=True) if outcome is None]

    def one_item(
        self,
        name: str,
        clips: Sequence[Clip],
        inputs: Mapping[str, FileRef],
        beside: Mapping[str, FileRef] | None = None,
    ) -> list[Item[ClipSet]]:
        """The one item of a stage that reads many clips."""
        return [Item(name, name, inputs, clip_set(self.recipe, self.landmarker.model, clips), beside or {})]

    @property
    def local_root(self) -> Path:
        """The work folder as a path; ValueError where it is not on this machine."""
        if self.store.local_root is None:
            raise ValueError(f"output {self.store.url} is not a folder of this machine; give one")
        return self.store.local_root

    def quarantined(self) -> list[QuarantineRow]:
        """Every item set aside so far."""
        rows = [("scan", outcome) for outcome in self.set_aside]
        rows += [(result.stage, outcome) for result in self.results for outcome in result.quarantined]
        return [
            QuarantineRow(
                stage=stage, item=outcome.id, name=outcome.name, reason=outcome.reason, message=outcome.message or ""
            )
            for stage, outcome in rows
            if outcome.reason is not None
        ]

    def lines(self) -> tuple[StageLine, ...]:
        """What became of the stages' items so far."""
        counts = [result.counts() for result in self.results]
        return tuple(StageLine(stage=c.stage, items=c.items, done=c.done, quarantined=c.quarantined) for c in counts)

    @property
    def status(self) -> str:
        return WITH_QUARANTINE if self.quarantined() else COMPLETED


def open_run(work: str, recipe: str, overrides: list[str], runtime: Runtime, steps: Steps | None = None) -> Run:
    """Open the store, resolve recipe and landmark model, and hold the data set to the one model it was made with."""
    store = Store(work)
    resolved = load_recipe(recipe, overrides)
    landmarker = resolve_landmarker(runtime.assets)
    if notice := written_by_another(store):
        logger.warning("%s", notice)
    claim_landmark_model(store, landmarker.model)
    return Run(store, resolved, runtime, landmarker, steps=steps or Steps())


@contextmanager
def recorded(run: Run, flow: str) -> Iterator[None]:
    """Leave summary and tables behind also when a run fails: what was set aside before is often why.

    The run is remembered from its beginning on.
    """
    with suppress(OSError):
        _keep(run, _summary(run, flow, Results(), STARTED))
    try:
        yield
    except Exception as error:
        with suppress(OSError):  # a full disk: the first error is the one to tell
            write_summary(run, flow, Results(error=f"{type(error).__name__}: {error}"))
        raise
    except BaseException:
        with suppress(OSError):
            _keep(run, _summary(run, flow, Results(), INTERRUPTED))
        raise


def _summary(run: Run, flow: str, results: Results, status: str) -> Summary:
    return Summary(
        **{name: getattr(results, name) for name in Results.model_fields},
        flow=f"{flow}{run.steps.label}",
        status=status,
        recipe=run.recipe.name,
        landmark_model=run.landmarker.model,
        started=run.started,
        seconds=round(time.monotonic() - run.begun, 1),
        stages=tuple(result.counts() for result in run.results),
        quarantined=len(run.quarantined()),
    )


def _keep(run: Run, summary: Summary) -> None:
    keep_run(run.store, run.name, summary, [result.manifest for result in run.results])


def write_summary(run: Run, flow: str, results: Results) -> Summary:
    """Write summary.json, manifest.parquet and quarantine.parquet into the work folder; returns the summary."""
    quarantine = run.quarantined()
    summary = _summary(run, flow, results, FAILED if results.error is not None else run.status)
    manifest = (
        ManifestRow(
            stage=result.stage,
            item=outcome.id,
            name=outcome.name,
            status="done" if outcome.done else "quarantined",
            reason=outcome.reason,
            folder=outcome.folder,
            row=row_text(outcome.result),
            landmark_model=run.landmarker.model,
        )
        for result in run.results
        for outcome in result.outcomes
    )
    write_tables(run.store, summary, manifest, quarantine)
    _keep(run, summary)
    return summary
