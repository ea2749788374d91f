"""What was looked at on a machine, what was found, and how to put it right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from fye_model.config import Config

State = Literal["ok", "warn", "bad"]


class Check(Config):
    """One thing that was looked at. bad: a run fails or gives wrong results; warn: it is slower, or fails one day."""

    name: str
    state: State
    found: str
    fix: str = ""


def check_lines(checks: Iterable[Check]) -> Iterator[str]:
    """A line for each, and below those that are not ok how to put them right."""
    for check in checks:
        yield f"{check.state:<5} {check.name:<15} {check.found}"
        if check.fix:
            yield f"{'':<21} → {check.fix}"


def verdict(checks: Sequence[Check]) -> str:
    """One line over all."""
    bad = [check.name for check in checks if check.state == "bad"]
    warned = [check.name for check in checks if check.state == "warn"]
    if bad:
        return f"A run would fail here: {', '.join(bad)}."
    return f"A run can start; worth a look: {', '.join(warned)}." if warned else "Everything is as a run needs it."
