"""How far an animation is and how long it still takes, in one short line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

Log = Callable[[str], None]
_EVERY_S = 5.0


class Progress:
    """Counts steps of sampling and finished frames; says a line at most every few seconds, and at the end.

    steps: of all windows together, those that were done before included in `done`. clock: seconds, for tests.
    """

    def __init__(self, frames: int, steps: int, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self.frames, self.steps = frames, max(steps, 1)
        self._log, self._clock = log, clock
        self._started = self._said = clock()
        self._first = self._steps = self._frames = 0
        self._told = False

    def skip(self, steps: int) -> None:
        """Steps that an earlier run has done: they took no time of this one."""
        self._first += steps
        self._steps += steps

    def step(self) -> None:
        """One more step of a window."""
        if self._first and not self._told:
            self._told = True
            self._log(f"going on from {100 * self._first // self.steps}%, which an earlier run has done")
        self._steps += 1
        now = self._clock()
        if now - self._said >= _EVERY_S:
            self._said = now
            self._log(self._line(now))

    def frame(self) -> None:
        """One more frame is finished."""
        self._frames += 1
        if self._frames == self.frames:
            self._log(f"{self.frames} of {self.frames} frames in {seconds(self._clock() - self._started)}")

    def _line(self, now: float) -> str:
        here = self._steps - self._first
        left = (now - self._started) / max(here, 1) * (self.steps - self._steps)
        part = 100 * self._steps // self.steps
        return f"{part}%, {self._frames} of {self.frames} frames, {seconds(left)} left"


def seconds(value: float) -> str:
    """A length of time as a person says it: `48 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
