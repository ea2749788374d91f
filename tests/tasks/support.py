"""Workers for the tests of stages and the pool: real ones, small enough to reason about."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from fye_model.config import Config
from tasks.engine.items import Item, Quarantine
from tasks.engine.stage import Stage
from tasks.engine.store import FileRef, file_digest


class LengthConfig(Config):
    unit: int = 1


class LengthWorker:
    """Writes the length of a text file, in units; marks every call in a log beside the source."""

    def __init__(self, config: LengthConfig) -> None:
        self.config = config

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def process(self, files: dict[str, Path], params: dict[str, Any], out: Path) -> dict[str, Any]:
        source = files["text"]
        text = source.read_text()
        with source.with_suffix(".calls").open("a") as log:
            log.write("x")
        if text.startswith("bad"):
            raise Quarantine("bad_text", f"{source.name} starts with 'bad'; write something else")
        if text.startswith("bug"):
            raise RuntimeError("a bug met this text")
        if text.startswith("kill") and not source.with_suffix(".killed").exists():
            source.with_suffix(".killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (out / "deep").mkdir()
        (out / "deep" / "length.txt").write_text(str(len(text) // self.config.unit))
        return {"length": len(text)}


LENGTH = Stage("test_length", "1", LengthWorker)


def text_items(folder: Path, **texts: str) -> list[Item]:
    """Items over text files; an existing file is left as it is."""
    items = []
    for name, text in texts.items():
        path = folder / f"{name}.txt"
        if not path.exists():
            path.write_text(text)
        items.append(Item(name, name, {"text": FileRef(str(path), file_digest(path), path.stat().st_size)}))
    return items


def calls(folder: Path, name: str) -> int:
    """How often the worker was called on a text."""
    log = folder / f"{name}.calls"
    return len(log.read_text()) if log.exists() else 0


@contextmanager
def job_handler() -> Iterator[Callable[[tuple[str, str]], str]]:
    """A pool handler that does what the job says: return, hang, die (always or once), or raise."""

    def handle(job: tuple[str, str]) -> str:
        what, argument = job
        if what == "hang":
            time.sleep(3600)
        if what == "die" or (what == "die_once" and not Path(argument).exists()):
            if argument:
                Path(argument).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "raise":
            raise ValueError(argument)
        return argument.upper() if what == "say" else what

    yield handle
