"""What a stage says while it works: log lines, and a progress bar in Prefect."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tasks.engine.items import Outcome


class Progress:
    """One log line when a stage starts and ends, and at most one every few seconds between, with rate and ETA."""

    EVERY_S = 5.0

    def __init__(self, stage: str, total: int) -> None:
        from prefect.artifacts import create_progress_artifact
        from prefect.logging import get_run_logger

        self._logger = get_run_logger()
        self._stage, self._total = stage, total
        self._begun = self._said = time.monotonic()
        self._finished = self._cached = self._missing = 0
        self._artifact: Any = None
        self._create = create_progress_artifact

    def begin(self, *, cached: int, missing: int) -> None:
        self._cached, self._missing = cached, missing
        self._logger.info("%s: %d items, %d cached, %d to do", self._stage, self._total, cached, missing)
        if missing > 1:
            key = self._stage.replace("_", "-")
            self._artifact = self._create(progress=0.0, key=f"{key}-progress", description=f"{self._stage}: items done")

    def advance(self, outcome: Outcome[Any]) -> None:
        from prefect.artifacts import update_progress_artifact

        self._finished += 1
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
            update_progress_artifact(artifact_id=self._artifact, progress=100.0 * self._finished / self._missing)

    def end(self, outcomes: Sequence[Outcome[Any]]) -> None:
        bad = sum(not outcome.done for outcome in outcomes)
        seconds = time.monotonic() - self._begun
        self._logger.info("%s: %d done, %d quarantined, %.1f s", self._stage, len(outcomes) - bad, bad, seconds)
