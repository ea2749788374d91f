"""Steps of sampling as a caller counts them: through all windows, however often one of them is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

Told = Callable[[int, int, dict[str, Any]], dict[str, Any] | None]


class CountedSteps:
    """Called by a sampler after each step of a window; moves a progress bar and tells a callback.

    steps: of one window; callback(number, timestep, {"latents": ...}) may return changed ones. A window that is drawn
    again, because precision or memory did not suffice, is counted anew from where it began.
    """

    def __init__(self, bar: Any, steps: int, callback: Told | None) -> None:
        self._bar, self._steps, self._callback = bar, steps, callback
        self._finished = 0  # steps of the windows before this one

    def __call__(self, step: int, timestep: int, latents: Tensor) -> Tensor | None:
        number = self._finished + step
        self._bar.update(number + 1 - self._bar.n)
        changed = None if self._callback is None else self._callback(number, timestep, {"latents": latents})
        return None if changed is None else changed.get("latents")

    def finish_window(self) -> None:
        """The window is done; the next step belongs to the one behind it."""
        self._finished += self._steps
