"""`fye gc`: a work folder rid of what nobody needs."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from flows.options import Json, Work


def gc(
    *,
    work: Work = "work/retrain",
    delete: Annotated[bool, Parameter(help="Remove it; without this, it is only told.", negative="")] = False,
    keep: Annotated[int, Parameter(help="Different runs of each flow and recipe whose outputs stay.")] = 1,
    json: Json = False,
) -> int:
    """Find what no run needs any more: old outputs and checkpoints, lock files, leftovers of killed runs.

    What the last runs used stays, and what an unfinished one made. Nothing is removed while a run is there.
    """
    from tasks.engine.store import Store, is_missing
    from tasks.jobs.clean import clean, find_leftovers, leftover_lines

    if is_missing(work):
        raise ValueError(f"there is no work folder {work}")
    if keep < 1:
        raise ValueError(f"--keep {keep}: give 1 or more")
    store = Store(work)
    found = clean(store, keep) if delete else find_leftovers(store, keep)
    if json:
        import json as module
        from dataclasses import asdict

        print(module.dumps({"removed": delete, "leftovers": [asdict(one) for one in found]}, indent=1))
        return 0
    for line in leftover_lines(found, delete):
        print(line)
    return 0


def register(app: App) -> None:
    """Add the command to the command line."""
    app.command(gc)
