"""Every run of a work folder, in `runs/<time>.json`: what summary.json says of the last one, kept for all of them.

A run has its file from its beginning on, so one that was killed is there too, without an end. What a run used of the
store stands in it as the manifests of its stages.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from pydantic import ConfigDict, Field, JsonValue, field_validator

from fye_model.config import Config
from tasks.engine.store import Store
from tasks.workspace.summary import Summary
from tasks.workspace.units import table_lines

RUNS = "runs"
STARTED = "Started"  # the status of a run that goes on, or was killed
INTERRUPTED = "Interrupted"
_SHOWN = ("l1", "ssim", "landmark_error")  # of the metrics, in the table
logger = logging.getLogger(__name__)


class _Told(Config):
    """Read from a file that any version may have written: what this one does not know is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class KeptStage(_Told):
    """How many items a stage found done, made and set aside."""

    stage: str
    cached: int
    computed: int
    quarantined: int


class KeptData(_Told):
    """The clips of a data set, and the names of those that came and went."""

    clips: int
    kept: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class KeptRun(_Told):
    """One run. `manifests`: of its stages, by their paths in the store."""

    name: str
    flow: str
    status: str
    recipe: str
    started: str
    seconds: float
    software: str = ""
    stages: tuple[KeptStage, ...] = ()
    quarantined: int = 0
    data: KeptData | None = None
    metrics: dict[str, JsonValue] = Field(default_factory=dict)
    selected_checkpoint: str | None = None
    error: str | None = None
    manifests: tuple[str, ...] = ()

    @field_validator("manifests")
    @classmethod
    def _inside(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        if outside := [path for path in paths if path.startswith("/") or ".." in PurePosixPath(path).parts]:
            raise ValueError(f"{outside[0]!r} leaves the store")
        return paths

    @property
    def ended(self) -> bool:
        """Whether it came to its end, whatever that was."""
        return self.status != STARTED

    @property
    def completed(self) -> bool:
        return self.status.startswith("Completed")


class HistoryRow(Config):
    """A run as a line of the history. made, cached, set_aside: items of all stages. Without a model, no numbers."""

    started: str
    flow: str
    recipe: str
    status: str
    took_s: float
    made: int
    cached: int
    set_aside: int
    clips: int | None
    added: int | None
    removed: int | None
    l1: float | None
    ssim: float | None
    landmark_error: float | None
    checkpoint: str | None
    error: str | None
    software: str


def keep_run(store: Store, name: str, summary: Summary, manifests: Iterable[str] = ()) -> None:
    """Write a run's file, in place of what it said before."""
    told = {**summary.as_json(), "name": name, "manifests": list(dict.fromkeys(manifests))}
    store.write_json(f"{RUNS}/{name}.json", told)


def kept_runs(store: Store) -> list[KeptRun]:
    """Every run that is remembered, oldest first. A file that is none is said to be damaged, and left out."""
    found = []
    for file in store.names(RUNS):
        if not file.endswith(".json") or file.startswith("."):
            continue
        try:
            found.append(KeptRun.model_validate_json(store.read_bytes(f"{RUNS}/{file}")))
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            logger.warning("%s/%s/%s is damaged, so it is left out: %s", store.url, RUNS, file, first)
    return found


def history_row(run: KeptRun) -> HistoryRow:
    """The run as a line of the history."""
    numbers = {name: value for name in _SHOWN if isinstance(value := run.metrics.get(name), int | float)}
    data = run.data
    return HistoryRow(
        started=run.started,
        flow=run.flow,
        recipe=run.recipe,
        status=run.status,
        took_s=run.seconds,
        made=sum(stage.computed for stage in run.stages),
        cached=sum(stage.cached for stage in run.stages),
        set_aside=run.quarantined,
        clips=None if data is None else data.kept,
        added=None if data is None else len(data.added),
        removed=None if data is None else len(data.removed),
        checkpoint=run.selected_checkpoint,
        error=run.error,
        software=run.software,
        **{name: numbers.get(name) for name in _SHOWN},
    )


def history_lines(runs: Iterable[KeptRun]) -> Iterator[str]:
    """The history as a table for people, a line a run, and below those that failed their error."""
    table: list[tuple[str, ...]] = [
        ("started", "flow", "recipe", "status", "took", "made", "cached", "aside", "clips", *_SHOWN)
    ]
    errors: dict[int, str] = {}
    for run in runs:
        row = history_row(run)
        status = row.status if run.ended else "no end: it goes on, or was killed"
        clips = "" if row.clips is None else f"{row.clips}{_change('+', row.added)}{_change('-', row.removed)}"
        numbers = ("" if value is None else f"{value:.3f}" for value in (row.l1, row.ssim, row.landmark_error))
        counts = (str(row.made), str(row.cached), str(row.set_aside), clips)
        when = row.started.replace("T", " ").removesuffix("+00:00")
        took = f"{row.took_s:.0f} s" if run.ended else ""
        table.append((when, row.flow, row.recipe, status, took, *counts, *numbers))
        if row.error:
            errors[len(table) - 1] = row.error
    for number, line in enumerate(table_lines(table)):
        yield line
        if number in errors:
            yield f"  {errors[number].splitlines()[0]}"


def _change(sign: str, count: int | None) -> str:
    return f" {sign}{count}" if count else ""
