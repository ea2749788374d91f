"""`fye history`: the runs that a work folder has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.options import Json, Work


def history(
    *,
    work: Work = "work/retrain",
    last: Annotated[int | None, Parameter(help="Only so many runs, the last ones.")] = None,
    output: Annotated[Path | None, Parameter(help="Also write the table as this Parquet file.")] = None,
    json: Json = False,
) -> int:
    """List every run of a work folder: when, what it made and found done, what it set aside, and its numbers."""
    from tasks.engine.store import existing_store
    from tasks.workspace.kept_runs import history_lines, history_row, kept_runs

    if last is not None and last < 1:
        raise ValueError(f"--last {last}: give 1 or more")
    runs = kept_runs(existing_store(work))[-(last or 0) :]
    rows = [history_row(run) for run in runs]
    if output is not None:
        from fye_model.files import write_atomic
        from tasks.workspace.kept_runs import HistoryRow
        from tasks.workspace.rows import table_bytes

        write_atomic(output, table_bytes(rows, HistoryRow, "1"))
    if json:
        import json as module

        print(module.dumps([row.model_dump() for row in rows], indent=1, ensure_ascii=False))
        return 0
    if not runs:
        print(f"No run is remembered in {work}: they are from now on.")
        return 0
    for line in history_lines(runs):
        print(line)
    if output is not None:
        print(f"\nwritten: {output}")
    return 0


def register(app: App) -> None:
    """Add the command to the command line."""
    app.command(history)
