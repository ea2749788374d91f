"""The doctor's part about Prefect: its server, and the runs that it takes for running though nobody runs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import get_current_settings

from flows.running import mark_killed, mark_runs
from flows.server import NoServer, start_server
from tasks.doctor.check import Check
from tasks.engine.limits import KEEP_LEASES, forgetful
from tasks.engine.store import Store, is_address, is_missing
from tasks.jobs.doctor import leftovers, local_checks
from tasks.workspace.holding import dead_runs, live_runs, run_locks

_YOUNG = timedelta(minutes=10)  # a run that has just begun may not hold its work folder yet


def doctor(work: str, clear: bool = False) -> Iterator[Check]:
    """Look at everything that a run with this work folder needs. clear: put an end to what runs that are gone left."""
    settings = get_current_settings()
    local: list[Check] = []

    def meanwhile() -> None:
        local.extend(local_checks(work, Path(settings.home)))

    begun = datetime.now(UTC)
    try:
        start_server(meanwhile)
    except NoServer as error:
        if not local:
            meanwhile()
        yield from local
        found, _, fix = str(error).partition(". ")
        yield Check(name="Prefect", state="bad", found=found, fix=fix)
        yield leftovers().check()
        return
    if not local:  # another server was there already
        meanwhile()
    yield from local
    took = (datetime.now(UTC) - begun).total_seconds()
    told = f"the server at {settings.api.url} answers" if settings.api.url else "a run's own server starts"
    yield Check(name="Prefect", state="ok", found=f"{told}; all of this took {took:.0f} s")
    if settings.api.url and (problem := forgetful()) is not None:
        yield Check(name="leases", state="warn", found=problem, fix=KEEP_LEASES)
    yield _stale_runs(work, clear)
    yield _leftovers(clear)


def _leftovers(clear: bool) -> Check:
    found = leftovers()
    check = found.check()
    if not clear or check.state == "ok":
        return check
    stayed = found.clear()
    if stayed:
        return Check(name="leftovers", state="warn", found=f"{', '.join(stayed)} cannot be ended", fix="end it by hand")
    return Check(name="leftovers", state="ok", found=f"cleared: {check.found}")


def _stale_runs(work: str, clear: bool) -> Check:
    """Runs that were killed, as their locks in the work folder and Prefect's own list tell."""
    dead = set() if is_missing(work) else set(dead_runs(store := Store(work)))
    running = {str(run.id): run for run in _unheld(_running())}
    stale = sorted(dead | set(running))
    if not stale:
        return Check(name="stale runs", state="ok", found="none that was killed is taken for running")
    names = [running[run].name if run in running else run for run in stale]
    told = f"{len(stale)} killed: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
    if not clear:
        fix = "`fye doctor --clear` tells Prefect that they crashed; so does the next run of their work folder"
        return Check(name="stale runs", state="warn", found=told, fix=fix)
    if dead:
        mark_killed(run_locks(store))
    mark_runs([UUID(run) for run in running])
    return Check(name="stale runs", state="ok", found=f"cleared: {told}")


def _running() -> list[FlowRun]:
    """What Prefect takes for running, and has for a while."""
    states = FlowRunFilterStateType(any_=[StateType.RUNNING])
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=states)))
    return [run for run in found if run.start_time is not None and datetime.now(UTC) - run.start_time > _YOUNG]


def _unheld(runs: list[FlowRun]) -> Iterator[FlowRun]:
    """Those whose work folder is a folder of this machine, and held by others or nobody."""
    for run in runs:
        work = run.parameters.get("work")
        if isinstance(work, str) and not is_address(work) and Path(work).is_absolute() and Path(work).is_dir():
            with suppress(ValueError):
                if str(run.id) not in live_runs(Store(work)):
                    yield run
