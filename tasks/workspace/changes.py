"""What came, changed, moved and went among the files of a data set since it was last looked at, and what is not taken.

The last look is `sources.parquet`: every file below the roots, taken or not, with what is known of it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from typing import Literal

import pyarrow.parquet as pq

from fye_model.config import Config
from tasks.engine.many import many_records
from tasks.engine.store import Store, is_address
from tasks.footage.pieces import Source
from tasks.media.opening import printable
from tasks.workspace.rows import write_rows

SOURCES = "sources.parquet"
SCHEMA = "2"
_READ = (b"1", b"2")  # 1 had no `recorded`
Status = Literal["taken", "set aside", "passed over"]
What = Literal["added", "changed", "moved", "renamed", "dropped", "not taken"]
_MOST_PASSED_OVER = 1000  # in a summary; sources.parquet has them all


class SourceRow(Config):
    """One file, or span of one: what is known of it, and what became of it."""

    id: str
    name: str
    path: str
    subject: str
    source: str  # the name of its card
    licence: str | None
    split: str | None
    take: str | None
    place: str | None
    recorded: str | None = None
    start_s: float
    end_s: float | None
    status: Status
    reason: str | None
    message: str | None

    @property
    def where(self) -> tuple[str, float, float | None]:
        return self.path, self.start_s, self.end_s


class SourceChange(Config):
    """What became of one file, and why."""

    what: What
    name: str
    why: str


class SourceChanges(Config):
    """How many files there are, and what is different from the last look; `not taken` is told every time."""

    taken: int
    set_aside: int
    passed_over: int
    changes: tuple[SourceChange, ...]


@many_records()
def note_sources(store: Store, sources: Sequence[Source]) -> SourceChanges:
    """Compare what is found with the last look, and note it as the next one's."""
    before = read_sources(store)
    now = [_row(source) for source in sources]
    write_rows(store, SOURCES, now, SourceRow, SCHEMA)
    counts = {status: sum(row.status == status for row in now) for status in ("taken", "set aside", "passed over")}
    return SourceChanges(
        taken=counts["taken"],
        set_aside=counts["set aside"],
        passed_over=counts["passed over"],
        changes=(*compare(before, now), *_not_taken(now)),
    )


def read_sources(store: Store) -> list[SourceRow]:
    """The files of a data set at the last look; empty where there was none, or another version wrote it."""
    if not store.exists(SOURCES):
        return []
    table = pq.read_table(io.BytesIO(store.read_bytes(SOURCES)))
    if (table.schema.metadata or {}).get(b"schema_version") not in _READ:
        return []
    return [SourceRow.model_validate(row) for row in table.to_pylist()]


def compare(before: Sequence[SourceRow], now: Sequence[SourceRow]) -> Iterator[SourceChange]:
    """What came, changed, moved, got another subject and went."""
    old = {row.id: row for row in before if row.status == "taken"}
    old_places = {row.where: row for row in old.values()}
    new = {row.id: row for row in now if row.status == "taken"}
    replaced = set()
    for row in new.values():
        known = old.get(row.id)
        if known is None:
            earlier = old_places.get(row.where)
            if earlier is not None and earlier.id not in new:
                replaced.add(earlier.id)
                yield SourceChange(what="changed", name=row.name, why=f"{row.path} holds other bytes than before")
            else:
                yield SourceChange(what="added", name=row.name, why=row.path)
        elif known.path != row.path:
            yield SourceChange(what="moved", name=row.name, why=f"from {known.path} to {row.path}; nothing is redone")
        if known is not None and known.subject != row.subject:
            yield SourceChange(what="renamed", name=row.name, why=f"subject {known.subject} is now {row.subject}")
    places = {row.where: row for row in now}
    for row in old.values():
        if row.id not in new and row.id not in replaced:
            yield SourceChange(what="dropped", name=row.name, why=_why_dropped(row, places.get(row.where)))


def change_lines(changes: SourceChanges, most: int) -> Iterator[tuple[str, str]]:
    """The counts, then every change by kind, at most so many of a kind."""
    yield (
        "files",
        f"{changes.taken} taken, {changes.set_aside} set aside, {changes.passed_over} passed over (see {SOURCES})",
    )
    kinds: tuple[What, ...] = ("added", "changed", "moved", "renamed", "dropped", "not taken")
    for kind in kinds:
        found = [change for change in changes.changes if change.what == kind]
        for change in found[:most]:
            yield kind, change.why if kind in ("added", "not taken") else f"{change.name}: {change.why}"
        if len(found) > most:
            yield kind, f"… and {len(found) - most} more, see {SOURCES}"


def _why_dropped(row: SourceRow, there: SourceRow | None) -> str:
    if there is not None and there.message:
        return there.message
    if is_address(row.path) or not os.path.lexists(row.path):
        return f"{row.path} is gone" if not is_address(row.path) else f"{row.path} is not listed any more"
    return f"{row.path} is there, but no longer part of the data set (its folder, table or span changed)"


def _not_taken(rows: Sequence[SourceRow]) -> Iterator[SourceChange]:
    shown = 0
    for row in rows:
        if row.status == "taken":
            continue
        shown += row.status == "passed over"
        if row.status == "set aside" or shown <= _MOST_PASSED_OVER:
            yield SourceChange(what="not taken", name=row.name, why=f"{row.reason}: {row.message}")


def _row(source: Source) -> SourceRow:
    status: Status = "taken" if source.problem is None else "passed over" if source.passed_over else "set aside"
    reason, message = source.problem or (None, None)
    return SourceRow(
        id=source.id,
        name=source.name,
        path=printable(source.path),
        subject=source.subject,
        source=source.card,
        licence=source.licence,
        split=source.split,
        take=source.take,
        place=source.place,
        recorded=source.recorded,
        start_s=source.start_s,
        end_s=source.end_s,
        status=status,
        reason=reason,
        message=message,
    )
