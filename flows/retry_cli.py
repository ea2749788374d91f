"""`fye retry`: items that were set aside for good, listed, and tried again by the next run."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from cyclopts import App, Parameter

from flows.options import Json, Told, Work

Reason = Annotated[
    str | None, Parameter(help="Why they were set aside: `timeout`, `no_face` … None lists what there is.")
]
OfStage = Annotated[str | None, Parameter(help="Only those of this stage.")]


def retry(*, work: Work = "work/retrain", reason: Reason = None, stage: OfStage = None, json: Json = False) -> int:
    """Have the next run try again what was set aside for a reason, such as `timeout` on a slow day."""
    from tasks.engine.store import existing_store
    from tasks.workspace.retry import reopen, set_aside

    store = existing_store(work)
    if reason is None:
        counts = Counter((item.reason, item.stage) for item in set_aside(store) if stage in (None, item.stage))
        found = sorted(counts.items())
        lines = [f"{why:<24} {where:<12} {count}" for (why, where), count in found]
        lines.append(f"{counts.total()} set aside in {work}." + (" Try some again: --reason REASON" if counts else ""))
        Told(json=json).end([{"reason": why, "stage": where, "items": count} for (why, where), count in found], *lines)
        return 0
    chosen = reopen(store, reason, stage)
    Told(json=json).end(
        [{"stage": item.stage, "name": item.name, "message": item.message} for item in chosen],
        *(f"{item.stage}: {item.name}: {item.message}" for item in chosen),
        f"{len(chosen)} will be tried again by the next run.",
    )
    return 0


def register(app: App) -> None:
    """Add the command to the command line."""
    app.command(retry)
