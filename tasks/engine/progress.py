"""What a stage says while it works: log lines, and a progress bar in Prefect."""

from __future__ import annotations

import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar, copy_context
from typing import Any

from tasks.engine.items import Outcome

LONG_S = 60.0  # an item that takes longer, and half of its stage's time, is named
_LAST_WORD_S = 5.0  # for Prefect to take the end of a bar
logger = logging.getLogger(__name__)
_COUNT = re.compile(r"\b(\d+)/(\d+)\b")
_current: ContextVar[Progress | None] = ContextVar("progress", default=None)


def counted(log: Callable[[str], None]) -> Callable[[str], None]:
    """A log whose lines with a count ("step 40/600 …") are also the progress of a stage that has one item only.

    That says how far the item is, for people who look at Prefect's page: counting items, the bar would stand still for
    hours of training. Outside a stage, and in workers' processes, it is the log alone.
    """

    def say(line: str) -> None:
        log(line)
        progress = _current.get()
        if progress is not None and (count := _COUNT.search(line)):
            progress.within(int(count[1]), int(count[2]), line)

    return say


class Progress:
    """One log line when a stage starts and ends, and at most one every few seconds between, with rate and ETA.

    Its bar in Prefect counts items; where there is one only, what `counted` reads in its lines.
    """

    EVERY_S = 5.0

    def __init__(self, stage: str, total: int) -> None:
        from prefect.logging import get_run_logger

        self._logger = get_run_logger()
        self._stage, self._total = stage, total
        self._begun = self._said = time.monotonic()
        self._finished = self._cached = self._missing = 0
        self._bar: _Bar | None = None
        self._longest: Outcome[Any] | None = None

    def begin(self, *, cached: int, missing: int) -> None:
        self._cached, self._missing = cached, missing
        items = f"{self._total} item{'s' if self._total != 1 else ''}"
        self._logger.info("%s: %s, %d cached, %d to do", self._stage, items, cached, missing)
        if missing > 1:
            self._show(0.0, f"{self._stage}: items done")
        _current.set(self if missing == 1 else None)

    def within(self, done: int, of: int, line: str) -> None:
        """How far the one item is, `line` in words."""
        now = time.monotonic()
        if of and (self._bar is None or now - self._said >= self.EVERY_S or done >= of):
            self._said = now
            self._show(100.0 * min(done / of, 1.0), f"{self._stage}: {line}")

    def _show(self, percent: float, description: str) -> None:
        if self._bar is None:
            self._bar = _Bar(f"{self._stage.replace('_', '-')}-progress")
        self._bar.show(percent, description)

    def advance(self, outcome: Outcome[Any]) -> None:
        self._finished += 1
        if self._longest is None or outcome.seconds > self._longest.seconds:
            self._longest = outcome
        if not outcome.done:
            self._logger.warning("%s: %s quarantined: %s", self._stage, outcome.name, outcome.reason)
        now = time.monotonic()
        last = self._finished == self._missing
        if self._missing > 1 and (now - self._said >= self.EVERY_S or last):
            self._said = now
            rate = self._finished / max(now - self._begun, 1e-6)
            left = (self._missing - self._finished) / max(rate, 1e-6)
            self._logger.info(
                "%s: %d of %d, %.2f items/s, %.0f s left", self._stage, self._finished, self._missing, rate, left
            )
            self._show(100.0 * self._finished / self._missing, f"{self._stage}: items done")

    def end(self, outcomes: Sequence[Outcome[Any]]) -> None:
        _current.set(None)
        if self._bar is not None:
            self._bar.close()
        bad = sum(not outcome.done for outcome in outcomes)
        seconds = time.monotonic() - self._begun
        self._logger.info("%s: %d done, %d quarantined, %.1f s", self._stage, len(outcomes) - bad, bad, seconds)
        longest = self._longest
        if longest is not None and self._missing > 1 and longest.seconds > max(LONG_S, seconds / 2):
            self._logger.info(
                "%s: %s alone took %.0f of these %.0f s; its spans would be worked on side by side (fye sources spans)",
                *(self._stage, longest.name, longest.seconds, seconds),
            )


class _Bar:
    """A progress artifact, kept up to date by a thread of its own: a server that is slow or gone holds up no work.

    What it did not come to say before something newer was known is left out.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._news: queue.SimpleQueue[tuple[float, str] | None] = queue.SimpleQueue()
        context = copy_context()  # in which Prefect finds the run
        self._thread = threading.Thread(target=context.run, args=(self._tell,), daemon=True, name=key)
        self._thread.start()

    def show(self, percent: float, description: str) -> None:
        self._news.put((percent, description))

    def close(self) -> None:
        """Have the last word told, unless that takes long."""
        self._news.put(None)
        self._thread.join(_LAST_WORD_S)

    def _tell(self) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        artifact: Any = None
        ended = False
        while not ended:
            waiting = [self._news.get()]
            while not self._news.empty():
                waiting.append(self._news.get())
            ended = None in waiting
            newest = next((news for news in reversed(waiting) if news is not None), None)
            if newest is None:
                continue
            percent, description = newest
            try:
                if artifact is None:
                    artifact = create_progress_artifact(progress=percent, key=self._key, description=description)
                else:
                    update_progress_artifact(artifact_id=artifact, progress=percent, description=description)
            except Exception as error:  # whatever it is, the work goes on
                logger.debug("Prefect was not told the progress of %s: %s", self._key, error)
