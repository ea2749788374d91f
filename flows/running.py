"""Runs that are alive, and those that were killed: these stay Running in Prefect for ever, unless somebody tells it.

Each run holds its work folder (`tasks/workspace/holding.py`). The next run there finds the lock of a killed one, and
tells Prefect.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from filelock import FileLock, Timeout
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed, State

from tasks.workspace.holding import held_by_run, run_locks
from tasks.workspace.run import Run, recorded

logger = logging.getLogger("tasks.running")


@contextmanager
def running(run: Run, flow: str) -> Iterator[None]:
    """`recorded`, with this run known to be alive, and after telling Prefect of those that are not."""
    mark_killed(run_locks(run.store))
    with held_by_run(run.store, str(flow_run.id)), recorded(run, flow):
        yield


def mark_killed(folder: Path) -> list[UUID]:
    """Tell Prefect which runs' processes are gone, as Crashed; returns them."""
    killed = []
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(Timeout, OSError), FileLock(path, timeout=0):
            path.unlink()
            with contextlib.suppress(ValueError):  # a file of another name tells of no run
                killed.append(UUID(path.name))
    return mark_runs(killed)


def mark_runs(killed: Sequence[UUID]) -> list[UUID]:
    """Tell Prefect that these have crashed; returns those that it took for running."""
    if not killed:
        return []
    with get_client(sync_client=True) as client:
        return [run for run in killed if _mark(client, run)]


def _mark(client: SyncPrefectClient, run: UUID) -> bool:
    """Whether Prefect took this run for running, which is put right."""
    try:
        found = client.read_flow_run(run)
    except ObjectNotFound:  # it was told to another server
        return False
    if found.state is None or found.state.is_final():
        return False
    crashed: State[Any] = Crashed(
        message="Its process was killed. What it had finished is kept; a later run went on from there."
    )
    for task in client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run]))):
        if task.state is not None and not task.state.is_final():
            client.set_task_run_state(task.id, crashed, force=True)
    client.set_flow_run_state(run, crashed, force=True)
    logger.warning("the run %s was killed: Prefect is told that it crashed", found.name)
    return True
