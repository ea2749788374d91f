"""What a per-clip stage is made of: a worker that processes one item, and the error that quarantines it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self


class Quarantine(Exception):
    """The item's data are bad: it is set aside with a reason, and the rest of the run goes on.

    `reason` is a short slug that counts can be grouped by (`no_face`, `truncated`); `message` says what was found,
    what was expected and how to fix it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class Worker(Protocol):
    """Processes items one by one inside one process; what it holds on to is opened on enter and closed on exit."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def process(self, files: dict[str, Path], params: dict[str, Any], out: Path) -> dict[str, Any]:
        """Write this item's output files into the empty folder `out`; return its row: JSON values, always the same.

        Raises `Quarantine` when the item's data are bad.
        """
        ...
