"""A visitor's run in a thread of its own: what it says, how far it is, how it ends, and how it is stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from tasks.animation.progress import Log, Standing, Watch

T = TypeVar("T")
_LOOK_EVERY_S = 0.2


class StoppedError(Exception):
    """The visitor stopped the run, or the studio closes."""


class Running(Generic[T]):
    """`work(log, watch)` in a thread, once the lock `turn` is free: runs share a machine one after another.

    waiting: for its turn; lines: what it said; standing: how far it is; result or error: at the end.
    """

    def __init__(self, work: Callable[[Log, Watch], T], turn: threading.Lock) -> None:
        self.lines: list[str] = []
        self.standing: Standing | None = None
        self.result: T | None = None
        self.error: Exception | None = None
        self.waiting = True
        self._work, self._turn = work, turn
        self._began = self._over = time.monotonic()
        self._stopped = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="animation", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Have it end at its next step."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        return isinstance(self.error, StoppedError)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, waiting at most so long for it."""
        return self._ended.wait(seconds)

    @property
    def took_s(self) -> float:
        """How long it took, waiting not counted."""
        return self._over - self._began

    @property
    def why(self) -> str:
        """Why there is no result, in words."""
        told = isinstance(self.error, ValueError | OSError)
        return str(self.error) if told else f"{type(self.error).__name__}: {self.error}"

    def _run(self) -> None:
        try:
            while not self._turn.acquire(timeout=_LOOK_EVERY_S):
                self._go_on()
            try:
                self.waiting, self._began = False, time.monotonic()
                self.result = self._work(self._log, self._watch)
            finally:
                self._over = time.monotonic()
                self._turn.release()
        except Exception as error:
            self.error = error
        finally:
            self._ended.set()

    def _log(self, line: str) -> None:
        self._go_on()
        self.lines.append(line)

    def _watch(self, standing: Standing) -> None:
        self._go_on()
        self.standing = standing

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise StoppedError("stopped")
