"""How far an animation is and how long it still takes, in one short line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Log = Callable[[str], None]
_EVERY_S = 5.0


@dataclass(frozen=True)
class Standing:
    """How far a run is. part: of all steps, 0 to 1; frames: finished, of how many; left_s: how long it still takes."""

    part: float
    frames: int
    of_frames: int
    left_s: float

    def __str__(self) -> str:
        return f"{int(100 * self.part + 1e-6)}%, {self.frames} of {self.of_frames} frames, {seconds(self.left_s)} left"


Watch = Callable[[Standing], None]


class Progress:
    """Counts steps of sampling and finished frames; says a line at most every few seconds, and at the end.

    steps: of all windows together, those that were done before included in `done`. watch: told after every step and
    frame, in place of lines; what it raises ends the run. clock: seconds, for tests.
    """

    def __init__(
        self,
        frames: int,
        steps: int,
        log: Log,
        clock: Callable[[], float] = time.monotonic,
        watch: Watch | None = None,
    ) -> None:
        self.frames, self.steps = frames, max(steps, 1)
        self._log, self._clock, self._watch = log, clock, watch
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
        self._steps = min(self._steps + 1, self.steps)  # a window that has to be drawn again comes with more
        now = self._clock()
        if self._watch is not None:
            self._watch(self._standing(now))
        elif now - self._said >= _EVERY_S:
            self._said = now
            self._log(str(self._standing(now)))

    def frame(self) -> None:
        """One more frame is finished."""
        self._frames += 1
        if self._watch is not None:
            self._watch(self._standing(self._clock()))
        if self._frames == self.frames:
            self._log(f"{self.frames} of {self.frames} frames in {seconds(self._clock() - self._started)}")

    def _standing(self, now: float) -> Standing:
        here = self._steps - self._first
        left_s = (now - self._started) / max(here, 1) * (self.steps - self._steps)
        return Standing(self._steps / self.steps, self._frames, self.frames, left_s)


def seconds(value: float) -> str:
    """A length of time as a person says it: `48 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
