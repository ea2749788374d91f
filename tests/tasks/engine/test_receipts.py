"""A receipt is believed when it is this item's, whole and true; what else lies there is made again and said once."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fye_model.config import Runtime
from fye_model.devices import RunDevice
from tasks.engine.contract import Kind
from tasks.engine.items import Outcome
from tasks.engine.receipts import Receipts, item_folder
from tasks.engine.stage import _Job, _work
from tasks.engine.store import Store
from tests.tasks.support import LENGTH, LengthConfig, LengthRow, text_items


class Made:
    """A store in which an item was made, where its receipt lies, and how to ask for it and make it again."""

    def __init__(self, folder: Path) -> None:
        self.store, items = Store(folder / "store"), text_items(folder, a="aaaa")
        self.job = _Job(LENGTH, self.store, Runtime(workers=0), items, LengthConfig(), None, RunDevice("cpu"))
        self.again()
        self.item = folder / "store" / item_folder(LENGTH, self.job.keys[0])
        self.receipt = self.item / "receipt.json"
        self.lock = folder / "store" / "partial" / LENGTH.name / f"{self.job.keys[0][:32]}.lock"

    def find(self) -> Outcome[LengthRow] | None:
        return Receipts(self.store, LENGTH).find(self.job.items[0], self.job.keys[0])

    def again(self) -> Outcome[LengthRow]:
        ((_, outcome),) = _work(self.job, [0])
        return outcome

    def change(self, **values: Any) -> None:
        self.receipt.write_text(json.dumps(json.loads(self.receipt.read_text()) | values))


def put(path: Path, kind: str) -> None:
    """Something in place of what lies there."""
    if path.is_dir():
        for entry in sorted(path.rglob("*"), reverse=True):
            entry.unlink() if entry.is_file() else entry.rmdir()
        path.rmdir()
    path.unlink(missing_ok=True)
    {"file": lambda: path.write_text("x"), "folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}[kind]()
    if kind == "folder":
        (path / "something").write_text("x")


GOOD_FILE = {"deep/length.txt": [1, "0" * 64]}
DAMAGES: dict[str, Callable[[Made], object]] = {
    "no JSON": lambda made: made.receipt.write_text("{"),
    "bytes": lambda made: made.receipt.write_bytes(b"\xff\xfe"),
    "a list": lambda made: made.receipt.write_text("[]"),
    "a number": lambda made: made.receipt.write_text("3"),
    "5,000 digits": lambda made: made.receipt.write_text("1" * 5000),
    "deep": lambda made: made.receipt.write_text("[" * 100_000),
    "another shape": lambda made: made.receipt.write_text('{"files": 3}'),
    "another schema": lambda made: made.change(schema=1),
    "another item": lambda made: made.change(item="b"),
    "another key": lambda made: made.change(key="0" * 64),
    "another stage": lambda made: made.change(stage="other"),
    "another row": lambda made: made.change(row={"width": 3}),
    "no row": lambda made: made.change(row=None),
    "no files": lambda made: made.change(files={}),
    "other files": lambda made: made.change(files={"x": [1, "0"]}),
    "files that leave": lambda made: made.change(files={**GOOD_FILE, "../../../a": [4, "0"]}),
    "files of a quarantined item": lambda made: made.change(reason="bad"),
    "receipt a folder": lambda made: put(made.receipt, "folder"),
    "receipt a pipe": lambda made: put(made.receipt, "pipe"),
    "item a file": lambda made: put(made.item, "file"),
    "item a pipe": lambda made: put(made.item, "pipe"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_no_true_receipt_is_said_once_and_made_again(
    damage: Callable[[Made], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Made(tmp_path)
    before = made.find()
    assert before is not None and made.again() == before, "found, not made"
    damage(made)
    caplog.set_level(logging.WARNING)
    assert made.find() is None
    made.again()
    said = [record.getMessage() for record in caplog.records if "is not believed" in record.getMessage()]
    assert len(said) == 1 and "a is done again" in said[0]
    after = made.find()
    assert after is not None and (after.files, after.result) == (before.files, before.result)
    left = {path.name for path in (tmp_path / "store").rglob("*") if path.is_file()}
    assert left == {"receipt.json", "length.txt"}, "no lock, nothing half-written"


@pytest.mark.parametrize("kind", ["file", "folder", "pipe"])
@pytest.mark.parametrize("where", ["lock", "scratch"])
def test_what_lies_in_the_way_of_work_in_progress_is_cleared_away(tmp_path: Path, kind: str, where: str) -> None:
    made = Made(tmp_path)
    before = made.find()
    made.receipt.unlink()
    put(made.lock if where == "lock" else made.lock.with_suffix(""), kind)
    made.again()
    after = made.find()
    assert before is not None and after is not None and after.files == before.files
    assert not made.lock.exists()


def test_of_two_machines_that_send_one_item_at_once_the_first_is_kept_whole(
    memory_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that differ from run to run, such as training's on a GPU, are never mixed under one receipt."""
    stage = replace(LENGTH, writes={"*": Kind.REPORT})
    (item,) = text_items(tmp_path, a="aaaa")

    def made(words: str) -> tuple[Receipts[LengthRow], Path]:
        folder = tmp_path / words
        folder.mkdir()
        for name in ("one.txt", "two.txt"):
            (folder / name).write_text(words)
        return Receipts(Store(memory_address), stage), folder

    (first, here), (second, there) = made("first"), made("other")
    begun, send = threading.Event(), first.store.fs.put_file

    def slowly(local: str, place: str) -> None:
        """The other machine has the time to send everything between the first one's two files."""
        send(local, place)
        if Path(local).parent == here:
            begun.set()
            time.sleep(0.5)

    monkeypatch.setattr(first.store.fs, "put_file", slowly)
    with ThreadPoolExecutor(2) as several:
        one = several.submit(first.settle, item, "k" * 64, here, LengthRow(length=4), 1.0)
        begun.wait(10)
        other = several.submit(second.settle, item, "k" * 64, there, LengthRow(length=4), 2.0)
        assert one.result().files == other.result().files and other.result().seconds == 1.0
    folder = item_folder(stage, "k" * 64)
    assert {second.store.read_bytes(f"{folder}/{name}.txt") for name in ("one", "two")} == {b"first"}
    assert not here.exists() and not there.exists() and second.store.names(f"{folder}.claims") == []


def test_what_is_sent_again_is_not_believed_before_it_is_whole(
    memory_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a store without rename: a run that is killed while it replaces a damaged output."""
    (item,) = text_items(tmp_path, a="aaaa")
    receipts, key = Receipts(Store(memory_address), LENGTH), "k" * 64
    for sent in (True, False):
        (tmp_path / "made" / "deep").mkdir(parents=True)
        (tmp_path / "made" / "deep" / "length.txt").write_text("4")
        if sent:
            receipts.settle(item, key, tmp_path / "made", LengthRow(length=4), 1.0)
            assert receipts.find(item, key) is not None
            receipts.store.delete(f"{item_folder(LENGTH, key)}/deep/length.txt")

    def killed(*_: str) -> None:
        raise OSError("killed")

    monkeypatch.setattr(receipts.store.fs, "put_file", killed)
    with pytest.raises(OSError, match="killed"):
        receipts.settle(item, key, tmp_path / "made", LengthRow(length=4), 1.0)
    receipts.store.write_bytes(f"{item_folder(LENGTH, key)}/deep/length.txt", b"5")
    assert receipts.find(item, key) is None
