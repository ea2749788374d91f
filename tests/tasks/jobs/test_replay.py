"""One item of one stage by hand: the same as what is stored, or how it differs; what fails is raised where it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from fye_model.config import Runtime
from tasks.engine.items import NOTHING, Item
from tasks.engine.receipts import Receipts
from tasks.engine.store import FileRef, Store
from tasks.jobs.replay import Replayed, choose_item, replay, replay_lines
from tests.tasks.support import LENGTH, LengthConfig, LengthRow, text_items


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "work")


def work(store: Store, item: Item, out: Path) -> Replayed:
    out.mkdir()
    return replay(store, LENGTH, LengthConfig(), item, Runtime(workers=0), None, out)


def keep(store: Store, item: Item, scratch: Path, length: int, text: str) -> None:
    """Store an outcome of this item as a run would."""
    (scratch / "deep").mkdir(parents=True)
    (scratch / "deep" / "length.txt").write_text(text)
    (key,) = LENGTH.keys(store, LengthConfig(), None, [item])
    Receipts(store, LENGTH).settle(item, key, scratch, LengthRow(length=length), 0.5)


def test_an_item_is_worked_on_again_and_is_the_same_as_stored(store: Store, tmp_path: Path) -> None:
    (item,) = text_items(tmp_path, a="hello")
    found = work(store, item, tmp_path / "first")
    assert found.stored is None and found.row == {"length": 5}
    assert "nothing to compare" in list(replay_lines(found))[-1]
    keep(store, item, tmp_path / "kept", 5, "5")
    again = work(store, item, tmp_path / "second")
    assert again.differences == [] and "byte for byte" in list(replay_lines(again))[-1]


def test_other_bytes_and_another_row_are_named(store: Store, tmp_path: Path) -> None:
    (item,) = text_items(tmp_path, a="hello")
    keep(store, item, tmp_path / "kept", 17, "17")
    found = work(store, item, tmp_path / "out")
    assert found.differences == [
        "deep/length.txt: other bytes (2 stored, 1 now)",
        "length: 17 stored, 5 now",
    ]


def test_an_item_that_is_now_set_aside_differs_from_a_stored_one(store: Store, tmp_path: Path) -> None:
    (item,) = text_items(tmp_path, a="bad words")
    keep(store, item, tmp_path / "kept", 9, "9")
    found = work(store, item, tmp_path / "out")
    assert found.differences == ["stored as done, now bad_text: a.txt starts with 'bad'; write something else"]
    assert any("set aside" in line for line in replay_lines(found))


def test_a_fault_of_the_worker_is_raised_where_it_happens_and_nothing_is_stored(store: Store, tmp_path: Path) -> None:
    (item,) = text_items(tmp_path, a="bug")
    with pytest.raises(RuntimeError, match="a bug met this text"):
        work(store, item, tmp_path / "out")
    assert store.names("items") == []


def test_an_item_is_chosen_by_name_id_or_a_part_that_only_one_has() -> None:
    items = [
        Item(str(number), name, {"text": FileRef("x", "", 0)}, NOTHING) for number, name in enumerate(("an", "anna"))
    ]
    assert choose_item(items, "an").id == "0" and choose_item(items, "1").name == "anna"
    assert choose_item(items, "nn").name == "anna" and choose_item(items[:1], None).name == "an"
    for clip, says in (("a", "means 2 of an, anna"), ("x", "means none of an, anna"), (None, "there are 2, an, anna")):
        with pytest.raises(ValueError, match=says):
            choose_item(items, clip)
