"""Items, the workers that process them, what became of them, and the manifest of a finished stage."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.engine.store import FileRef, Store


@dataclass(frozen=True)
class Item:
    """One unit of a stage's work. `params` are part of its key, `extras` (what only changes wording) are not."""

    id: str
    name: str
    inputs: dict[str, FileRef]
    params: dict[str, Any] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)


class Quarantine(Exception):
    """The item's data are bad: it is set aside with a reason, and the rest of the run goes on.

    `reason` is a short slug that counts can be grouped by (`no_face`, `truncated`); `message` says what was found,
    what was expected and how to fix it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class Worker(Protocol):
    """Processes items one by one inside one process; what it holds on to is opened on enter and closed on exit."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def process(self, files: dict[str, Path], params: dict[str, Any], out: Path) -> dict[str, Any]:
        """Write this item's output files into the empty folder `out`; return its row: JSON values, always the same.

        Raises `Quarantine` when the item's data are bad.
        """
        ...


@dataclass(frozen=True)
class Outcome:
    """What became of an item: output files below `folder` and a row, or a quarantine reason."""

    id: str
    name: str
    key: str
    folder: str
    files: dict[str, list[Any]]  # relative name -> [size, sha256]
    row: dict[str, Any]
    reason: str | None = None
    message: str | None = None
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        return self.reason is None

    def ref(self, name: str) -> FileRef:
        """Reference to one output file; KeyError names what there is."""
        if name not in self.files:
            raise KeyError(f"{self.name}: no output {name!r} in {self.folder}; there is {sorted(self.files)}")
        size, sha256 = self.files[name]
        return FileRef(f"{self.folder}/{name}", sha256, size)

    def refs(self, prefix: str, under: str = "") -> dict[str, FileRef]:
        """References to the output files whose names begin so, by name, put `under` a folder."""
        return {f"{under}{name}": self.ref(name) for name in sorted(self.files) if name.startswith(prefix)}

    def identity(self) -> list[Any]:
        """What later stages depend on: the content, not when or how fast it was made."""
        return [self.id, self.name, self.reason, self.files, self.row]


@dataclass(frozen=True)
class StageResult:
    """A finished stage: every item's outcome, and how this run came by them."""

    stage: str
    outcomes: list[Outcome]
    digest: str
    seconds: float  # of this run
    work_seconds: float  # when it was really done
    fresh: int  # items computed in this run
    state: str  # "Cached" when Prefect's record answered, else "Completed"

    @property
    def only(self) -> Outcome:
        """The outcome of a stage with one item."""
        (outcome,) = self.outcomes
        return outcome

    @property
    def done(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.done]

    @property
    def quarantined(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if not outcome.done]

    def counts(self) -> dict[str, Any]:
        """The stage's line in summary.json."""
        settled = len(self.done)
        fresh = min(self.fresh, len(self.outcomes))
        return {
            "stage": self.stage,
            "state": self.state,
            "items": len(self.outcomes),
            "cached": len(self.outcomes) - fresh,
            "computed": fresh,
            "done": settled,
            "quarantined": len(self.quarantined),
            "seconds": round(self.seconds, 2),
            "work_seconds": round(self.work_seconds, 2),
        }


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
    metadata={"schema_version": "1"},
)


def write_manifest(store: Store, path: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Write one row per outcome; returns where it lies and its size."""
    rows = [
        {**vars(outcome), "files": json.dumps(outcome.files), "row": json.dumps(outcome.row)} for outcome in outcomes
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_MANIFEST), sink, compression="zstd")
    store.write_bytes(path, sink.getvalue())
    return {"path": path, "size": len(sink.getvalue())}


def read_manifest(store: Store, manifest: dict[str, Any]) -> list[Outcome]:
    """Read what `write_manifest` wrote."""
    table = pq.read_table(io.BytesIO(store.read_bytes(manifest["path"])))
    return [
        Outcome(**{**row, "files": json.loads(row["files"]), "row": json.loads(row["row"])})
        for row in table.to_pylist()
    ]
