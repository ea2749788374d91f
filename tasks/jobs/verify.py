"""A work folder held against its own receipts: is everything there that they name, and is it what they say?

A run looks at sizes, and at contents of what was written to since; this reads every byte, so it also finds what a disk
lost in silence.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from tasks.engine.contract import problems_with
from tasks.engine.receipts import RECEIPT_SCHEMA, ItemReceipt
from tasks.engine.stage import AnyStage
from tasks.engine.store import Store
from tasks.media.decodable import undecodable
from tasks.workspace.in_use import in_use
from tasks.workspace.planned import past_of
from tasks.workspace.units import size_text, time_text

_MOST = 20  # problems that are told one by one
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Damage:
    """An item's folder that is not what its receipt says. seconds: what to make it again takes; None if not known.

    needed: whether the last runs used it, so that the next one makes it again.
    """

    stage: str
    path: str
    problem: str
    seconds: float | None
    needed: bool


@dataclass
class Verified:
    """What was looked at, by stage, and what is wrong."""

    items: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    damaged: list[Damage] = field(default_factory=list)


def verify(store: Store, stages: Sequence[AnyStage], deep: bool = False) -> Verified:
    """Look at every item: receipt, files, sizes, hashes, and with `deep` whether files can be decoded.

    Of items of other stages than these, rows and lists of files are not looked at.
    """
    known, found = {stage.name: stage for stage in stages}, Verified()
    used = in_use(store) if store.local_root is not None else None
    for name in store.names("items"):
        stage = known.get(name)
        past = past_of(store, stage) if stage is not None else None
        for folder in (f"items/{name}/{key}" for key in store.names(f"items/{name}") if not key.startswith(".")):
            found.items[name] += 1
            receipt, problem = _receipt(store, stage, folder)
            if receipt is not None and problem is None:
                found.files[name] += len(receipt.files)
                found.bytes[name] += sum(size for size, _ in receipt.files.values())
                problem = next(_problems(store, folder, receipt, deep), None)
            if problem is not None:
                needed = used is None or used.needs(folder, 0.0)
                mean = None if past is None else past.seconds
                seconds = mean if receipt is None else receipt.seconds
                found.damaged.append(Damage(name, folder, problem, seconds, needed))
    return found


def forget(store: Store, damaged: Sequence[Damage]) -> None:
    """Take away the receipts of damaged items, so that the next run that needs one makes it again."""
    for damage in damaged:
        store.delete(f"{damage.path}/receipt.json")


def verified_lines(found: Verified, forgotten: bool) -> Iterator[str]:
    """What was looked at, a line a stage; what is damaged; what it costs, and what to do."""
    bad = Counter(damage.stage for damage in found.damaged)
    for stage, items in found.items.items():
        told = f"{bad[stage]} damaged" if bad[stage] else "all as they were written"
        size = size_text(found.bytes[stage])
        what = "item " if items == 1 else "items"
        yield f"{stage:<14} {items:>6} {what} {found.files[stage]:>7} files {size:>9}  {told}"
    for damage in found.damaged[:_MOST]:
        yield f"  {damage.path}: {damage.problem}{'' if damage.needed else ' (no longer needed)'}"
    if len(found.damaged) > _MOST:
        yield f"  … and {len(found.damaged) - _MOST} more"
    if not found.damaged:
        yield f"{found.items.total()} items are what their receipts say."
        return
    needed = [damage for damage in found.damaged if damage.needed]
    times = [damage.seconds for damage in needed]
    known = sum(seconds for seconds in times if seconds is not None)
    unknown = f", and {times.count(None)} of which nothing tells the time" if None in times else ""
    yield f"{len(found.damaged)} of {found.items.total()} items are damaged; {len(needed)} of them are needed."
    yield f"To make those again takes about {time_text(known)} of work by what earlier items took{unknown}; what"
    yield "depends on them is made again only where they come out different."
    yield (
        "Their receipts are gone: the next run makes them again."
        if forgotten
        else "`fye verify --redo` has the next run make them again (what has the right size, a run would believe)."
    )


def _receipt(store: Store, stage: AnyStage | None, folder: str) -> tuple[ItemReceipt | None, str | None]:
    """The receipt in a folder, and what is wrong with it."""
    try:
        receipt = ItemReceipt.model_validate_json(store.read_bytes(f"{folder}/receipt.json"))
    except FileNotFoundError:
        return None, "it has no receipt"
    except (OSError, ValueError):
        return None, "its receipt is damaged"
    if receipt.schema_version != RECEIPT_SCHEMA:
        return receipt, None  # of another version: no run believes it, and its files are as it says or not
    if f"items/{receipt.stage}/{receipt.key[:32]}" != folder:
        return receipt, "its receipt is that of another item"
    if stage is not None and receipt.version == stage.version and receipt.reason is None:
        try:
            stage.row.model_validate(receipt.row)
        except ValidationError:
            return receipt, "its receipt's row is not one of this stage"
        if problems := problems_with(receipt.files, stage.writes):
            return receipt, f"its files are not those of this stage: {'; '.join(problems)}"
    return receipt, None


def _problems(store: Store, folder: str, receipt: ItemReceipt, deep: bool) -> Iterator[str]:
    for name, (size, sha256) in receipt.files.items():
        path = f"{folder}/{name}"
        try:
            there = store.size(path)
            if there != size:
                yield f"{name} is missing" if there is None else f"{name} has {there} bytes instead of {size}"
            elif _digest(store, path) != sha256:
                yield f"{name} holds other bytes than were written"
            elif deep and (wrong := undecodable(store.local_path(path))):
                yield f"{name} cannot be read: {wrong}"
        except (OSError, ValueError) as error:
            yield f"{name} cannot be read: {getattr(error, 'strerror', None) or error}"


def _digest(store: Store, path: str) -> str:
    state: Any = hashlib.sha256()
    with store.open(path) as handle:
        while block := handle.read(_BLOCK):
            state.update(block)
    return str(state.hexdigest())
