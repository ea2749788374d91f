"""Where the time before the first step goes, and the helper of the loader that starts before anything slow.

Nothing slow is imported here: a training process asks for the loader's server first, and imports the networks' code
while the server imports its own.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing import forkserver

LOADER = "fye_model.training.loader"


def start_server() -> None:
    """Have the fork server of loader workers start and import now, beside whatever else is done before a batch."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([LOADER])
    forkserver.ensure_running()


class Laps:
    """Seconds since it was made, each put down to what it went into."""

    def __init__(self) -> None:
        self._begun = self._last = time.monotonic()
        self._laps: list[tuple[str, float]] = []

    def lap(self, name: str, of_which: tuple[str, float] | None = None) -> None:
        """The time since the last lap went into `name`, but for the part that is told by a name of its own."""
        now = time.monotonic()
        seconds = now - self._last
        self._last = now
        if of_which is not None:
            self._laps.append(of_which)
            seconds -= of_which[1]
        self._laps.append((name, seconds))

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self._laps)
        return f"{self._last - self._begun:.1f} s: {parts}"
