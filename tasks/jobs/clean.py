"""A work folder rid of what nobody needs: outputs of earlier settings and videos, tables of them, leftovers of kills.

What the last runs used stays, so that a run that finds everything cached still does. What is removed can be made again
and only costs its time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fye_model.files import is_left_over
from tasks.engine.locks import is_free
from tasks.engine.receipts import ItemReceipt
from tasks.engine.store import Store
from tasks.workspace.holding import CLEANING, RUN_LOCKS, held_for_cleaning
from tasks.workspace.in_use import InUse, in_use
from tasks.workspace.units import size_text, time_text

OUTPUT, TABLE, RECORD = "outputs", "tables of stages", "records of stages"
PROGRESS, LOCK, TEMPORARY = "work in progress", "lock files", "temporary files"
_ORDER = (RECORD, TABLE, OUTPUT, PROGRESS, LOCK, TEMPORARY)  # of removal: nothing is named that is gone


@dataclass(frozen=True)
class Leftover:
    """Something that nobody needs, `path` in the store. seconds: what the work on it took, as far as that is known."""

    kind: str
    path: str
    bytes: int
    seconds: float = 0.0

    @property
    def stage(self) -> str:
        """Of which stage it is; empty where it is of none."""
        return self.path.split("/")[1] if self.kind in (OUTPUT, PROGRESS, TABLE) else ""


def find_leftovers(store: Store, keep: int = 1) -> list[Leftover]:
    """What nobody needs of a work folder, where the last `keep` different runs of each flow and recipe count.

    Raises ValueError for a store that is no folder of this machine.
    """
    root = _root(store)
    used = in_use(store, keep)
    found = [*_records(root, used), *_tables(root, used), *_outputs(store, root, used), *_progress(root, used)]
    return sorted([*found, *_locks(root), *_temporary(root)], key=lambda one: (_ORDER.index(one.kind), one.path))


def clean(store: Store, keep: int = 1) -> list[Leftover]:
    """Remove what nobody needs; returns it. Raises ValueError while a run holds the work folder."""
    root = _root(store)
    with held_for_cleaning(store):
        found = find_leftovers(store, keep)
        for one in found:
            if one.kind == LOCK:
                _remove_lock(root / one.path)
                continue
            if one.kind == OUTPUT:  # first what makes it believed: a part of an output is none
                (root / one.path / "receipt.json").unlink(missing_ok=True)
            store.delete(one.path)
        return found


def leftover_lines(found: Sequence[Leftover], removed: bool) -> Iterator[str]:
    """What was found, summed by kind and stage, for people."""
    if not found:
        yield "Nothing to remove."
        return
    groups: Counter[tuple[str, str]] = Counter((one.kind, one.stage) for one in found)
    for (kind, stage), count in groups.items():
        those = [one for one in found if (one.kind, one.stage) == (kind, stage)]
        took = sum(one.seconds for one in those)
        again = f", {time_text(took)} to make again" if took >= 1 else ""
        yield f"{kind:<18} {stage:<14} {count:>6}  {size_text(sum(one.bytes for one in those)):>9}{again}"
    total = size_text(sum(one.bytes for one in found))
    yield f"{total} {'removed' if removed else 'can be removed: fye gc --delete does it'}."


def _root(store: Store) -> Path:
    if store.local_root is None:
        raise ValueError(
            f"{store.url} is no folder of this machine: whether a run elsewhere holds it cannot be seen from here, so "
            "nothing is removed in it"
        )
    return store.local_root


def _outputs(store: Store, root: Path, used: InUse) -> Iterator[Leftover]:
    for folder in sorted(root.glob("items/*/*")):
        path = folder.relative_to(root).as_posix()
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        if not used.needs(path, _made(folder / "receipt.json", folder)):
            yield Leftover(OUTPUT, path, _bytes(folder), _seconds(store, path))


def _tables(root: Path, used: InUse) -> Iterator[Leftover]:
    for file in sorted(root.glob("stages/*/*.parquet")):
        path = file.relative_to(root).as_posix()
        if not file.name.startswith(".") and not used.needs(path, _made(file)):
            yield Leftover(TABLE, path, _bytes(file))


def _records(root: Path, used: InUse) -> Iterator[Leftover]:
    """A record is of use as long as the table that it names."""
    for file in sorted(root.glob("results/*")):
        stage, _, key = file.name.rpartition("-")
        if stage and not stage.startswith(".") and not used.needs(f"stages/{stage}/{key[:32]}.parquet", _made(file)):
            yield Leftover(RECORD, file.relative_to(root).as_posix(), _bytes(file))


def _progress(root: Path, used: InUse) -> Iterator[Leftover]:
    """What killed runs left: of no use once the item is done, or when it is not needed; and fetched files.

    Curves that people watch (`<key>.tensorboard`) stay with their item.
    """
    for folder in sorted(root.glob("partial/*/*")):
        if not folder.is_dir() or folder.parent.name == RUN_LOCKS or folder.name.startswith("."):
            continue
        path = folder.relative_to(root).as_posix()
        key, _, kept_with_it = folder.name.partition(".")
        item = f"items/{folder.parent.name}/{key}"
        done = (root / item / "receipt.json").is_file() and kept_with_it != "tensorboard"
        if done or folder.parent.name == "fetched" or not used.needs(item, _made(folder)):
            yield Leftover(PROGRESS, path, _bytes(folder))


def _locks(root: Path) -> Iterator[Leftover]:
    """Lock files that nobody holds. Those of runs stay: who finds them tells Prefect that their runs were killed."""
    found = [*root.glob("partial/*/*.lock"), *root.glob(".*.lock")]
    for file in sorted(found):
        if file.is_file() and file.parent.name != RUN_LOCKS and file != root / "partial" / CLEANING and is_free(file):
            yield Leftover(LOCK, file.relative_to(root).as_posix(), _bytes(file))


def _temporary(root: Path) -> Iterator[Leftover]:
    """Half-written files and folders of processes that are gone."""
    places = [root, root / "runs", root / "results", *root.glob("items/*"), *root.glob("stages/*")]
    for path in (path for place in places for path in sorted(place.glob(".*")) if is_left_over(path)):
        yield Leftover(TEMPORARY, path.relative_to(root).as_posix(), _bytes(path))


def _remove_lock(file: Path) -> None:
    with suppress(Timeout, OSError), FileLock(file, timeout=0):
        file.unlink(missing_ok=True)


def _made(*paths: Path) -> float:
    """When the first of these that is there was written, in seconds since 1970."""
    return next((path.stat().st_mtime for path in paths if path.exists()), 0.0)


def _bytes(path: Path) -> int:
    files: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())


def _seconds(store: Store, path: str) -> float:
    try:
        return ItemReceipt.model_validate_json(store.read_bytes(f"{path}/receipt.json")).seconds
    except (OSError, ValueError):
        return 0.0
