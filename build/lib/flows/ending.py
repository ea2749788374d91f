"""The end of a flow: its summary is written and shown, and its state says whether anything was set aside."""

from __future__ import annotations

from typing import Any

from prefect.states import Completed, State

from tasks.workspace.run import Run, write_summary
from tasks.workspace.summary import Results, show


def finish_run(run: Run, flow: str, results: Results) -> State[Any]:
    """Write and show the summary; the flow's state says whether anything was set aside."""
    summary = write_summary(run, flow, results)
    show(summary, run.quarantined())
    return Completed(name=run.status, message=f"{summary.quarantined} quarantined", data=summary.as_json())
