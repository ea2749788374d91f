"""The end of a flow: its summary is written and shown, and its state says whether anything was set aside."""

from __future__ import annotations

from typing import Any

from prefect.states import Completed, State

from tasks.workspace.page import picture_of, show
from tasks.workspace.run import Run, write_summary
from tasks.workspace.summary import Results


def finish_run(run: Run, flow: str, results: Results) -> State[Any]:
    """Write and show the summary; the flow's state says whether anything was set aside."""
    summary = write_summary(run, flow, results)
    show(summary, run.quarantined(), picture_of(run.store, results))
    return Completed(name=run.status, message=f"{summary.quarantined} quarantined", data=summary.as_json())
