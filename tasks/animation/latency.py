"""How late a live picture is, and whether a machine keeps up with its source."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_BIN_S, _BINS = 0.005, 12_000  # up to a minute; memory does not grow with a run's length
_MEASURED = 2  # windows, the first ones: what takes long once has been done before them


@dataclass
class Latencies:
    """Times from a picture's arrival until its result is written, as counts of 5 ms."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(_BINS, np.int64))

    def add(self, seconds: float) -> None:
        """One more frame's; what takes over a minute counts as that."""
        self.counts[min(max(int(seconds / _BIN_S), 0), _BINS - 1)] += 1

    def quantile(self, part: float) -> float | None:
        """The seconds within which such a part of the frames was written; None before the first."""
        total = int(self.counts.sum())
        if not total:
            return None
        return float(np.searchsorted(np.cumsum(self.counts), part * total) + 1) * _BIN_S


class KeepingUp:
    """Measures how many frames a second are drawn and says once, in a line, when those are fewer than come.

    fps: of the source; steps, window: how they are drawn.
    """

    def __init__(self, fps: float, steps: int, window: int) -> None:
        self.fps, self.steps, self.window = fps, steps, window
        self._windows = self._frames = 0
        self._seconds = 0.0

    def add(self, frames: int, seconds: float) -> str | None:
        """A window that took so long; the line, after enough windows, where there is reason for one."""
        self._windows += 1
        if self._windows > _MEASURED:
            return None
        self._frames += frames
        self._seconds += seconds
        drawn = self._frames / max(self._seconds, 1e-9)
        if self._windows < _MEASURED or drawn >= self.fps:
            return None
        fewer = int(self.steps * drawn / self.fps)
        steps = f"fewer steps (--set steps={fewer}, now {self.steps})" if fewer else "a faster GPU"
        return (
            f"this machine does not keep up: {drawn:.1f} frames/s are drawn, {self.fps:g} come; the rest is left out. "
            f"What helps: {steps}, a smaller model; on a GPU also a larger --window (now {self.window}), which is later"
        )
