"""Prefect's lines on the terminal without tracebacks: a run that fails ends in one clear line."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator


class WithoutTraceback(logging.Formatter):
    """Formats as another formatter does, but for what an exception leaves behind the message."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """The line alone; Prefect's server, whose handler comes before this one, keeps the traceback."""
        plain = copy.copy(record)
        plain.exc_info = plain.exc_text = plain.stack_info = None
        return self.inner.format(plain)


def hide_tracebacks() -> None:
    """Take tracebacks off the terminal, unless FYE_DEBUG is set. Call it after Prefect has set up its logging."""
    if os.environ.get("FYE_DEBUG"):
        return
    for handler in _handlers():
        if not isinstance(handler.formatter, WithoutTraceback):
            handler.setFormatter(WithoutTraceback(handler.formatter or logging.Formatter()))


def only_warnings() -> None:
    """Leave only warnings and errors on the terminal. Call it after Prefect has set up its logging."""
    for handler in _handlers():
        handler.setLevel(logging.WARNING)


def nearby(text: str) -> str:
    """The text with paths below the current folder as they are typed there."""
    return text.replace(f"{os.getcwd().rstrip('/')}/", "")


def _handlers() -> Iterator[logging.Handler]:
    """Prefect's handlers that write to the terminal."""
    from prefect.logging.handlers import PrefectConsoleHandler

    for logger in [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]:
        for handler in getattr(logger, "handlers", []):
            if isinstance(handler, PrefectConsoleHandler):
                yield handler
