"""`fye verify` and `fye gc`: a work folder checked, and rid of what nobody needs."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from flows.options import Json, Work


def verify(
    *,
    work: Work = "work/retrain",
    deep: Annotated[bool, Parameter(help="Also decode videos, sound, pictures and tables.", negative="")] = False,
    redo: Annotated[bool, Parameter(help="Have the next run make again what is damaged.", negative="")] = False,
    json: Json = False,
) -> int:
    """Hold a work folder against its receipts: every output's size and hash, and what to make it again would cost.

    Reads every byte of it, which a run does not. Ends with 1 where something is damaged.
    """
    from tasks.engine.store import existing_store
    from tasks.jobs.verify import forget, verified_lines
    from tasks.jobs.verify import verify as look
    from tasks.plan import STAGES

    store = existing_store(work)
    found = look(store, STAGES, deep)
    if redo:
        forget(store, found.damaged)
    if json:
        import json as module
        from dataclasses import asdict

        counts = {"items": found.items, "files": found.files, "bytes": found.bytes}
        print(module.dumps({**counts, "damaged": [asdict(damage) for damage in found.damaged]}, indent=1))
    else:
        for line in verified_lines(found, redo):
            print(line)
    return 1 if found.damaged else 0


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
    from tasks.engine.store import existing_store
    from tasks.jobs.clean import clean, find_leftovers, leftover_lines

    if keep < 1:
        raise ValueError(f"--keep {keep}: give 1 or more")
    store = existing_store(work)
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
    """Add the commands to the command line."""
    app.command(verify)
    app.command(gc)
