"""Items, the workers that process them, what became of them, and the manifest of a finished stage.

An item's facts and a worker's row are frozen records of the stage that declares them. They travel as JSON and are
checked when they are read again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from fye_model.config import Config
from tasks.engine.store import FileRef, Store

Facts = TypeVar("Facts", bound=Config)
Row = TypeVar("Row", bound=Config)
RowOut = TypeVar("RowOut", bound=Config, covariant=True)
FileList = dict[str, tuple[int, str]]  # relative name -> (size in bytes, sha256)


class Nothing(Config):
    """The facts of an item that its files tell all about, or the settings of a stage that has none."""


NOTHING = Nothing()


@dataclass(frozen=True)
class Item(Generic[Facts]):
    """One unit of a stage's work. Its key is made of id, inputs and facts; the name is for people alone.

    `beside`: files that its worker may show something by while it works, and that nothing it makes depends on.
    """

    id: str
    name: str
    inputs: Mapping[str, FileRef]
    facts: Facts
    beside: Mapping[str, FileRef] = field(default_factory=dict)


@dataclass(frozen=True)
class Given(Generic[Facts]):
    """An item as its worker sees it: its files as local paths, and the empty folder `out` for what is made of them.

    `name` is for messages: nothing that is written or returned may depend on it.
    """

    name: str
    files: Mapping[str, Path]
    facts: Facts
    out: Path

    def folder(self, name: str) -> Path:
        """The folder whose files are given as `<name>/…`; KeyError names what there is."""
        for file, path in self.files.items():
            if file.startswith(f"{name}/"):
                return Path(*path.parts[: len(path.parts) - file[len(name) + 1 :].count("/") - 1])
        raise KeyError(f"{self.name}: no files {name}/… are given; there is {sorted(self.files)}")


class Quarantine(Exception):
    """The item's data are bad: it is set aside with a reason, and the rest of the run goes on.

    `reason` is a short slug that counts can be grouped by (`no_face`, `truncated`); `message` says what was found,
    what was expected and how to fix it. `found`: the row of its stage as far as there is one, which is kept.
    """

    def __init__(self, reason: str, message: str, found: Config | None = None) -> None:
        super().__init__(reason, message, found)
        self.reason = reason
        self.message = message
        self.found = found

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class Worker(Protocol[Facts, RowOut]):
    """Processes items one by one inside one process; what it holds on to is opened on enter and closed on exit."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def process(self, item: Given[Facts]) -> RowOut:
        """Write this item's output files into `item.out`; return its row, always the same for the same item.

        Raises `Quarantine` when the item's data are bad.
        """
        ...


@dataclass(frozen=True)
class Outcome(Generic[Row]):
    """What became of an item: output files below `folder` and a row, or a quarantine reason.

    `result`: the row; of an item set aside, what was found before, or None.
    """

    id: str
    name: str
    key: str
    folder: str
    files: FileList
    result: Row | None
    reason: str | None = None
    message: str | None = None
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        return self.reason is None

    @property
    def row(self) -> Row:
        """What the worker returned; ValueError for a quarantined item."""
        if self.result is None or not self.done:
            raise ValueError(f"{self.name} was set aside ({self.reason}: {self.message}), so it has no row")
        return self.result

    def ref(self, name: str) -> FileRef:
        """Reference to one output file; KeyError names what there is."""
        if name not in self.files:
            raise KeyError(f"{self.name}: no output {name!r} in {self.folder}; there is {sorted(self.files)}")
        size, sha256 = self.files[name]
        return FileRef(f"{self.folder}/{name}", sha256, size)

    def refs(self, prefix: str, under: str = "") -> dict[str, FileRef]:
        """References to the output files whose names begin so, by name, put `under` a folder."""
        return {f"{under}{name}": self.ref(name) for name in sorted(self.files) if name.startswith(prefix)}

    def identity(self) -> list[JsonValue]:
        """What later stages depend on: the content, not when or how fast it was made."""
        files: JsonValue = {name: list(entry) for name, entry in self.files.items()}
        return [self.id, self.name, self.reason, files, as_json(self.result)]


class StageCounts(Config):
    """A stage's line in summary.json: items found and made in this run, seconds of this run and of the work itself."""

    stage: str
    state: str
    items: int
    cached: int
    computed: int
    done: int
    quarantined: int
    seconds: float
    work_seconds: float


@dataclass(frozen=True)
class StageResult(Generic[Row]):
    """A finished stage: every item's outcome, and how this run came by them."""

    stage: str
    outcomes: list[Outcome[Row]]
    digest: str
    seconds: float  # of this run
    work_seconds: float  # when it was really done
    fresh: int  # items computed in this run
    state: str  # "Cached" when Prefect's record answered, else "Completed"
    manifest: str = ""  # path in the store

    @property
    def only(self) -> Outcome[Row]:
        """The outcome of a stage with one item."""
        (outcome,) = self.outcomes
        return outcome

    @property
    def done(self) -> list[Outcome[Row]]:
        return [outcome for outcome in self.outcomes if outcome.done]

    @property
    def quarantined(self) -> list[Outcome[Row]]:
        return [outcome for outcome in self.outcomes if not outcome.done]

    def all_done(self) -> dict[str, Outcome[Row]]:
        """Every outcome by its item's id; ValueError names each item that was set aside."""
        if self.quarantined:
            told = "\n".join(f"  {outcome.name}: {outcome.reason}: {outcome.message}" for outcome in self.quarantined)
            raise ValueError(f"{self.stage}: {len(self.quarantined)} could not be done, so nothing is told:\n{told}")
        return {outcome.id: outcome for outcome in self.outcomes}

    def counts(self) -> StageCounts:
        """The stage's line in summary.json."""
        fresh = min(self.fresh, len(self.outcomes))
        return StageCounts(
            stage=self.stage,
            state=self.state,
            items=len(self.outcomes),
            cached=len(self.outcomes) - fresh,
            computed=fresh,
            done=len(self.done),
            quarantined=len(self.quarantined),
            seconds=round(self.seconds, 2),
            work_seconds=round(self.work_seconds, 2),
        )


def as_json(record: Config | None) -> JsonValue:
    """A record as JSON values; None stays None."""
    return None if record is None else record.model_dump(mode="json")


_MANIFEST = pa.schema(
    [
        ("id", pa.string()),
        ("name", pa.string()),
        ("key", pa.string()),
        ("folder", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("files", pa.string()),
        ("row", pa.string()),
        ("seconds", pa.float64()),
    ],
    metadata={"schema_version": "2"},
)


_AT_ONCE = 1000  # rows read and written as Python objects


def write_manifest(store: Store, path: str, outcomes: Sequence[Outcome[Row]]) -> int:
    """Write one row per outcome; returns the file's size in bytes. Equal outcomes give equal bytes."""
    sink, left = io.BytesIO(), iter(outcomes)
    with pq.ParquetWriter(sink, _MANIFEST, compression="zstd") as writer:
        while some := [_manifest_row(outcome) for outcome in islice(left, _AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(some, schema=_MANIFEST))
    store.write_bytes(path, sink.getvalue())
    return len(sink.getvalue())


def _manifest_row(outcome: Outcome[Row]) -> dict[str, str | float | None]:
    row = {name: getattr(outcome, name) for name in _MANIFEST.names if name not in ("files", "row")}
    texts = json.dumps(outcome.files, sort_keys=True), json.dumps(as_json(outcome.result), sort_keys=True)
    return {**row, "files": texts[0], "row": texts[1]}


def read_manifest(store: Store, path: str, record: type[Row]) -> list[Outcome[Row]]:
    """Read what `write_manifest` wrote, rows as this record. ValueError when it is none, or of other rows."""
    table = pq.ParquetFile(io.BytesIO(store.read_bytes(path)))
    if table.schema_arrow.metadata != _MANIFEST.metadata:
        raise ValueError(f"{path} was written by another version of this software")
    outcomes = []
    # a part at a time: as Python objects the texts of all rows are larger than what is made of them
    for values in (values for part in table.iter_batches(_AT_ONCE) for values in part.to_pylist()):
        row, files = json.loads(values.pop("row")), json.loads(values.pop("files"))
        result = None if row is None else record.model_validate(row)
        outcomes.append(Outcome(**values, files=file_list(files), result=result))
    return outcomes


def file_list(values: Mapping[str, Sequence[int | str]]) -> FileList:
    """{name: (size, sha256)} from JSON; ValueError or TypeError when it is something else."""
    return {str(name): (int(size), str(sha256)) for name, (size, sha256) in values.items()}
