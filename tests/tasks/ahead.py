"""Two stages of which the second is made ahead: real workers, whose order the files in the store decide."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fye_model.config import Recipe
from tasks.engine.ahead import Begun
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import NOTHING, Given, Item, Nothing, Outcome, Quarantine, Worker
from tasks.engine.stage import AnyStage, Context, Stage
from tasks.landmarks import LANDMARKS, LandmarkFacts, LandmarkRow, LandmarkWorker
from tests.debug import DEBUG
from tests.tasks.support import LENGTH, LengthConfig, LengthRow, LengthWorker

LONGEST_S = 120.0


def receipts(work: Path, stage: str) -> list[Path]:
    """Of a stage's items in a store."""
    return sorted((work / "items" / stage).glob("*/receipt.json"))


def wait_for(work: Path, stage: str, count: int = 1) -> None:
    """Until so many items of a stage are made; RuntimeError where that does not come to be."""
    until = time.monotonic() + LONGEST_S
    while len(receipts(work, stage)) < count:
        if time.monotonic() > until:
            raise RuntimeError(f"{count} items of {stage} were not made in {LONGEST_S:.0f} s")
        time.sleep(0.05)


def store_of(item: Given[Any]) -> Path:
    """The store in which an item is worked on."""
    return next(folder.parent for folder in item.out.parents if folder.name == "partial")


class WaitingLength(LengthWorker):
    """Makes `first`; what begins with "last" only when the file `go` lies beside it."""

    def process(self, item: Given[Nothing]) -> LengthRow:
        source = item.files["text"]
        until = time.monotonic() + LONGEST_S
        while source.read_text().startswith("last") and not source.with_name("go").exists():
            if time.monotonic() > until:
                raise RuntimeError("nobody said that it may go on")
            time.sleep(0.05)
        return super().process(item)


class DoubleWorker(Worker[Nothing, LengthRow]):
    """Doubles a length; 9 is bad, and until `well` lies beside the store 5 is a bug, 7 kills its process and 11 hangs.

    Notes in `seen`, beside the store, what it was given.
    """

    def __init__(self, settings: LengthConfig, context: Context) -> None:
        pass

    def process(self, item: Given[Nothing]) -> LengthRow:
        length, beside = int(item.files["length"].read_text()), store_of(item).parent
        with (beside / "seen").open("a") as seen:
            seen.write(f"{length}\n")
        if length == 9:
            raise Quarantine("bad_length", "9 is bad; write something longer")
        if not (beside / "well").exists():
            if length == 5:
                raise RuntimeError("a bug met this length")
            if length == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            while length == 11:
                time.sleep(1)
        (item.out / "double.txt").write_text(str(2 * length))
        return LengthRow(length=2 * length)


class Broken(DoubleWorker):
    """Lacks what it works with."""

    def __init__(self, settings: LengthConfig, context: Context) -> None:
        raise ValueError("there is no such model")


FIRST = replace(LENGTH, name="test_first", open=WaitingLength)
DOUBLE = Stage(
    "test_double",
    "1",
    settings=lambda recipe: LengthConfig(),
    reads={"length": Kind.REPORT},
    writes={"double.txt": Kind.RESULT},
    row=LengthRow,
    open=DoubleWorker,
    resources=Resources(memory_gib=0.2),
)


def double_items(outcomes: list[Outcome[LengthRow]]) -> list[Item[Nothing]]:
    return [Item(each.id, each.name, {"length": each.ref("deep/length.txt")}, NOTHING) for each in outcomes]


@dataclass
class DoubleAhead:
    """Plans to double every length."""

    stages: tuple[AnyStage, ...] = (DOUBLE,)
    recipe: Recipe = DEBUG

    def first(self) -> Iterator[Begun]:
        return iter(())

    def after(self, stage: AnyStage, outcome: Outcome[Any]) -> Iterator[Begun]:
        if stage.name == FIRST.name:
            for item in double_items([outcome]):
                yield self.stages[0], item


class WaitingLandmarks(LandmarkWorker):
    """Landmarks of two clips, and of others only when one of those two is encoded."""

    def process(self, item: Given[LandmarkFacts]) -> LandmarkRow:
        work = store_of(item)
        if len(receipts(work, "landmarks")) >= 2:
            wait_for(work, "latents")
        return super().process(item)


WAITING_LANDMARKS = replace(LANDMARKS, open=WaitingLandmarks)


def made(work: Path, *stages: str) -> dict[str, dict[str, bytes]]:
    """Item -> its files but the receipt, of these stages in a store."""
    folders = [path.parent for stage in stages for path in receipts(work, stage)]
    return {
        folder.relative_to(work).as_posix(): {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "receipt.json"
        }
        for folder in folders
    }
