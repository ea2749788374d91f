"""The end of a flow: its summary is written and shown, and its state says whether anything was set aside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect.states import Completed, State

from tasks.workspace.page import picture_of, show
from tasks.workspace.run import Run, write_summary
from tasks.workspace.steps import Stopped
from tasks.workspace.summary import Results


@dataclass
class StoppedRun:
    """How a run ended that stopped at the last stage that was wanted; None for one that did not."""

    state: State[Any] | None = None


@contextmanager
def stopping(run: Run, flow: str) -> Iterator[StoppedRun]:
    """Within the body a run may stop where it was asked to; its summary is then of what was done."""
    stopped = StoppedRun()
    try:
        yield stopped
    except Stopped:
        stopped.state = finish_run(run, flow, Results())


def finish_run(run: Run, flow: str, results: Results) -> State[Any]:
    """Write and show the summary; the flow's state says whether anything was set aside."""
    summary = write_summary(run, flow, results)
    show(summary, run.quarantined(), picture_of(run.store, results))
    return Completed(name=run.status, message=f"{summary.quarantined} quarantined", data=summary.as_json())
