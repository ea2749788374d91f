"""Who holds a work folder: runs, any number of them together, or a cleaning, alone.

Each run holds a lock in the work folder, under its id; the system lets go of it when the process is gone, however it
went. A work folder that is no folder of this machine has its locks here, so only this machine's runs are seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tasks.engine.locks import held_file, is_free
from tasks.engine.store import Store

RUN_LOCKS = "runs"  # of the store's work in progress
CLEANING = "cleaning"


def run_locks(store: Store) -> Path:
    """The folder of the runs' locks."""
    folder = store.scratch(RUN_LOCKS)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def held_by_run(store: Store, run: str) -> Iterator[None]:
    """Hold the work folder for a run; waits where it is being cleaned. TimeoutError when that does not end."""
    with ExitStack() as stack:
        with held_file(store.scratch(CLEANING), 600.0, f"{store.url}, which is cleaned up,"):
            stack.enter_context(held_file(run_locks(store) / run, 1.0, f"run {run}"))
        yield


@contextmanager
def held_for_cleaning(store: Store) -> Iterator[None]:
    """Hold the work folder against every run. Raises ValueError while one holds it."""
    with held_file(store.scratch(CLEANING), 1.0, f"{store.url}, which is cleaned up,"):
        if alive := live_runs(store):
            raise ValueError(
                f"{store.url} is held by {len(alive)} run{'s' if len(alive) > 1 else ''} ({', '.join(alive)}), which "
                "may need what no finished run did: try again when nothing runs there"
            )
        yield


def live_runs(store: Store) -> list[str]:
    """The ids of the runs whose processes are there."""
    return [path.name for path in sorted(run_locks(store).iterdir()) if not is_free(path)]


def dead_runs(store: Store) -> list[str]:
    """The ids of the runs that were killed, and that nobody has told Prefect of yet."""
    return [path.name for path in sorted(run_locks(store).iterdir()) if is_free(path)]
