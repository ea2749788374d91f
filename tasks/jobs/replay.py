"""One item of one stage, worked on in this process, without Ray, Prefect or a cache, and held against the store.

For whoever looks into a stage: what it makes of one clip, whether it still makes what is stored, and, with a debugger,
why it fails. The store is read and never written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from fye_model.config import Runtime
from fye_model.devices import choose_device
from tasks.engine.contract import problems_with
from tasks.engine.items import FileList, Given, Item, Outcome, Quarantine, as_json, file_list
from tasks.engine.receipts import Receipts
from tasks.engine.stage import AnyStage, Context, given
from tasks.engine.store import Store, folder_files
from tasks.faces.landmarker import LandmarkerAsset


@dataclass(frozen=True)
class Replayed:
    """What came of it: files and row, or the reason why the item is set aside, beside what the store has.

    stored: None where this item was never finished with these settings.
    """

    item: Given[Any]
    device: str
    seconds: float
    files: FileList
    row: JsonValue
    reason: str | None
    message: str | None
    stored: Outcome[Any] | None

    @property
    def differences(self) -> list[str]:
        """How it differs from what is stored, a line each; nothing where it is the same or nothing is stored."""
        if self.stored is None:
            return []
        if (self.reason, self.stored.reason) != (None, None):
            before, now = (self.stored.reason or "done", self.reason or "done")
            same = before == now and self.stored.message == self.message
            return [] if same else [f"stored as {before}, now {now}: {self.message or 'no complaint'}"]
        return [*_file_differences(self.stored.files, self.files), *_row_differences(self.stored, self.row)]


def choose_item(items: Sequence[Item[Any]], clip: str | None) -> Item[Any]:
    """The item of this id or name, or the one whose name alone contains it; the only one where none is asked for.

    Raises ValueError that lists the names there are.
    """
    names = ", ".join(item.name for item in items[:20]) + (" …" if len(items) > 20 else "")
    if clip is None:
        if len(items) == 1:
            return items[0]
        raise ValueError(f"say which with --clip: there are {len(items)}, {names}")
    exact = [item for item in items if clip in (item.id, item.name)]
    found = exact or [item for item in items if clip in item.name]
    if len(found) != 1:
        raise ValueError(f"--clip {clip!r} means {'none' if not found else len(found)} of {names}")
    return found[0]


def replay(
    store: Store,
    stage: AnyStage,
    settings: Any,
    item: Item[Any],
    runtime: Runtime,
    asset: LandmarkerAsset | None,
    out: Path,
) -> Replayed:
    """Work on one item, its files into the empty folder `out`. Whatever the worker raises but `Quarantine` is raised.

    Raises RuntimeError when the worker wrote other files than its stage declares.
    """
    device = choose_device(runtime.device).name if stage.resources.gpus else "cpu"
    given_item = given(store, item, out)
    (key,) = stage.keys(store, settings, asset, [item])
    stored = Receipts(store, stage).find(item, key)
    context = Context(runtime, device, asset if stage.uses_landmarker else None)
    row: JsonValue = None
    reason = message = None
    begun = time.monotonic()
    try:
        with stage.open(settings, context) as worker:
            row = as_json(worker.process(given_item))
    except Quarantine as bad:
        reason, message = bad.reason, bad.message
    seconds = time.monotonic() - begun
    files = file_list(folder_files(out))
    if reason is None and (problems := problems_with(files, stage.writes)):
        raise RuntimeError(f"{stage.name} wrote other files than it declares: {'; '.join(problems)}")
    return Replayed(given_item, device, seconds, files, row, reason, message, stored)


def replay_lines(replayed: Replayed, kept: bool = False) -> Iterator[str]:
    """What people want to know of it, a line each. kept: its files stay where they are."""
    where = f", into {replayed.item.out}" if kept else ""
    yield f"{replayed.item.name} in {replayed.seconds:.2f} s on {replayed.device}{where}"
    if replayed.reason is not None:
        yield f"  set aside   {replayed.reason}: {replayed.message}"
    for name, (size, _) in sorted(replayed.files.items()):
        yield f"  {name:<28} {size} bytes"
    if isinstance(replayed.row, Mapping):
        for name, value in replayed.row.items():
            yield f"  {name:<28} {_short(value)}"
    if replayed.stored is None:
        yield "Nothing is stored of this item with these settings, so there is nothing to compare it with."
    elif not replayed.differences:
        yield f"The same as what is stored in {replayed.stored.folder}, byte for byte."
    else:
        yield f"It differs from what is stored in {replayed.stored.folder}:"
        yield from (f"  {line}" for line in replayed.differences)


def _file_differences(stored: FileList, now: FileList) -> Iterator[str]:
    for name in sorted(stored.keys() | now.keys()):
        if name not in now:
            yield f"{name}: stored, but not made now"
        elif name not in stored:
            yield f"{name}: made now, but not stored"
        elif stored[name] != now[name]:
            yield f"{name}: other bytes ({stored[name][0]} stored, {now[name][0]} now)"


def _row_differences(stored: Outcome[Any], now: JsonValue) -> Iterator[str]:
    before = as_json(stored.result)
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                yield f"{name}: {_short(before.get(name))} stored, {_short(now.get(name))} now"
    elif before != now:
        yield f"row: {_short(before)} stored, {_short(now)} now"


def _short(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
