"""Workers for the tests of stages and the pool: real ones, small enough to reason about."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fye_model.config import Config, Runtime
from tasks.engine.contract import Kind, Resources, problems_with
from tasks.engine.items import NOTHING, Facts, Given, Item, Nothing, Quarantine, Row, Worker
from tasks.engine.stage import Context, Settings, Stage
from tasks.engine.store import FileRef, file_digest
from tasks.faces.landmarker import LandmarkerAsset


class LengthConfig(Config):
    unit: int = 1


class LengthRow(Config):
    length: int


class LengthWorker(Worker[Nothing, LengthRow]):
    """Writes the length of a text file, in units; marks every call in a log beside the source."""

    def __init__(self, settings: LengthConfig, context: Context) -> None:
        self.config = settings

    def process(self, item: Given[Nothing]) -> LengthRow:
        source = item.files["text"]
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
        (item.out / "deep").mkdir()
        (item.out / "deep" / "length.txt").write_text(str(len(text) // self.config.unit))
        return LengthRow(length=len(text))


LENGTH = Stage(
    "test_length",
    "1",
    settings=lambda recipe: LengthConfig(),
    reads={"text": Kind.SOURCE},
    writes={"deep/length.txt": Kind.REPORT},
    row=LengthRow,
    open=LengthWorker,
    resources=Resources(memory_gib=0.2),
)


def work_on(
    stage: Stage[Settings, Facts, Row],
    settings: Settings,
    files: Mapping[str, Path],
    facts: Facts,
    out: Path,
    *,
    asset: LandmarkerAsset | None = None,
    name: str = "some clip",
    runtime: Runtime | None = None,
) -> Row:
    """One item through a stage's worker in this process; its files must be those that the stage declares."""
    assert not problems_with(files, {**stage.reads, **stage.beside})
    context = Context(runtime or Runtime(workers=0), "cpu", asset)
    with stage.open(settings, context) as worker:
        row = worker.process(Given(name, files, facts, out))
    assert not problems_with(
        (path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()), stage.writes
    )
    return row


def text_items(folder: Path, **texts: str) -> list[Item[Nothing]]:
    """Items over text files; an existing file is left as it is."""
    items = []
    for name, text in texts.items():
        path = folder / f"{name}.txt"
        if not path.exists():
            path.write_text(text)
        items.append(Item(name, name, {"text": FileRef(str(path), file_digest(path), path.stat().st_size)}, NOTHING))
    return items


def calls(folder: Path, name: str) -> int:
    """How often the worker was called on a text."""
    log = folder / f"{name}.calls"
    return len(log.read_text()) if log.exists() else 0


@contextmanager
def job_handler() -> Iterator[Callable[[tuple[str, str]], object]]:
    """A pool handler that does what the job says: return, hang, wait for a file, die (always or once), raise, tell its
    niceness, or meet others.

    Who meets others (`folder:count`) waits for that many processes, and returns its number and the GPUs that it sees.
    """

    def handle(job: tuple[str, str]) -> object:
        what, argument = job
        if what == "hang":
            time.sleep(3600)
        if what == "wait":
            while not Path(argument).exists():
                time.sleep(0.05)
        if what == "die" or (what == "die_once" and not Path(argument).exists()):
            if argument:
                Path(argument).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "raise":
            raise ValueError(argument)
        if what == "meet":
            folder, count = argument.split(":")
            Path(folder, str(os.getpid())).touch()
            while len(os.listdir(folder)) < int(count):
                time.sleep(0.02)
            return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")
        if what == "niceness":
            return os.nice(0)
        return argument.upper() if what == "say" else what

    yield handle
