"""What of a store is in use: the stages' tables and the items' folders that its last runs, and its files, refer to."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow.lib
import pyarrow.parquet as pq

from tasks.engine.store import HASHES, OWN, Store
from tasks.workspace.kept_runs import RUNS, KeptRun, kept_runs

_ITEM = re.compile(r"items/[^/\"\\]+/[0-9a-f]{32}")
_DEPTH = 3  # below the work folder, where links into the store are looked for
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InUse:
    """manifests, folders: paths in the store that are in use. stages: those about which that can be told.

    since: what was made after this time (seconds since 1970) belongs to a run that has not ended well and may go on.
    """

    manifests: frozenset[str]
    folders: frozenset[str]
    stages: frozenset[str]
    since: float

    def needs(self, path: str, made: float) -> bool:
        """Whether an item's folder or a stage's table has to stay; `made`: when, in seconds since 1970."""
        stage = path.split("/")[1]
        return stage not in self.stages or path in self.folders or path in self.manifests or made >= self.since


def in_use(store: Store, keep: int = 1) -> InUse:
    """What the last `keep` different completed runs of each flow and recipe used, and what came after them.

    Nothing is told of stages that no remembered run went through, nor of one whose table cannot be read: all of it
    counts as used then.
    """
    runs = kept_runs(store)
    manifests = {path for run in _last(runs, keep) for path in run.manifests}
    stages = {path.split("/")[1] for run in runs for path in run.manifests}
    folders = set(_named_outside(Path(str(store.local_root))))
    for path in sorted(manifests):
        try:
            table = pq.read_table(io.BytesIO(store.read_bytes(path)), columns=["folder"])
            folders |= set(table["folder"].to_pylist())
        except (OSError, ValueError, pyarrow.lib.ArrowException) as error:
            stage = path.split("/")[1]
            logger.warning("%s cannot be read (%s): everything of %s is kept", path, type(error).__name__, stage)
            stages.discard(stage)
    return InUse(frozenset(manifests), frozenset(folders), frozenset(stages), _open_since(runs))


def _last(runs: Sequence[KeptRun], keep: int) -> Iterator[KeptRun]:
    """The last different completed runs of each flow and recipe, and the others that came after them."""
    seen: dict[tuple[str, str], list[frozenset[str]]] = {}
    for run in reversed(runs):
        known = seen.setdefault((run.flow, run.recipe), [])
        used = frozenset(run.manifests)
        if len(known) >= keep and used not in known:
            continue
        yield run
        if run.completed and used not in known:
            known.append(used)


def _open_since(runs: Sequence[KeptRun]) -> float:
    """When the first run began that has not ended well, and that no completed one of its flow and recipe followed."""
    since, done = float("inf"), set()
    for run in reversed(runs):
        if run.completed:
            done.add((run.flow, run.recipe))
        elif (run.flow, run.recipe) not in done:
            since = min(since, datetime.fromisoformat(run.started).timestamp())
    return since


def _named_outside(root: Path) -> Iterator[str]:
    """Items' folders that the work folder's own JSON files name, and those that links in it lead to."""
    for path in root.glob("*.json"):
        if path.name != HASHES and path.is_file():
            yield from _ITEM.findall(path.read_text(encoding="utf-8", errors="replace"))
    for folder, names, files in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        if depth == 0:
            names[:] = [name for name in names if name not in (*OWN, RUNS)]
        for name in [*names, *files]:
            path = Path(folder, name)
            if path.is_symlink():
                yield from _ITEM.findall(os.readlink(path))
        if depth == _DEPTH:
            names.clear()
