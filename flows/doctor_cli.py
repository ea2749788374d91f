"""`fye doctor`: whether a run can start here, and what is in its way."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from flows.options import Json, Work


def doctor(
    *,
    work: Work = "work/retrain",
    clear: Annotated[
        bool, Parameter(help="End processes and mark runs that were killed, which are left over.", negative="")
    ] = False,
    json: Json = False,
) -> int:
    """Look at everything that a run needs: Python, packages, Ray, Prefect, landmark model, GPUs, disk, store, clock.

    Also finds what killed runs left. Ends with 1 where a run would fail. Takes about ten seconds.
    """
    from flows.console import hide_tracebacks
    from flows.doctor import doctor as look  # Prefect takes seconds to import
    from tasks.doctor.check import check_lines, verdict

    hide_tracebacks()
    checks = list(look(work, clear))
    if json:
        import json as module

        print(module.dumps([check.model_dump() for check in checks], indent=1, ensure_ascii=False))
    else:
        for line in check_lines(checks):
            print(line)
        print(verdict(checks))
    return 1 if any(check.state == "bad" for check in checks) else 0


def register(app: App) -> None:
    """Add the command to the command line."""
    app.command(doctor)
