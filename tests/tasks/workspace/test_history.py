"""A run is compared with the last one that came to other numbers, whatever was run twice or damaged between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.engine.items import Nothing, Outcome
from tasks.engine.store import Store, file_digest
from tasks.workspace.history import HISTORY, changed_settings, note_run, previous_run, read_history
from tests.tasks.workspace.test_recipes import BOMB


def _evaluation(store: Store, key: str, numbers: str) -> Outcome[Nothing]:
    """An evaluation in the store whose metrics are these."""
    folder = f"items/evaluate/{key}"
    texts = {"metrics.json": numbers, "records/a.json": "{}", "cross/records/b.json": "{}", "videos/a.mp4": "video"}
    files = {}
    for name, text in texts.items():
        store.write_bytes(f"{folder}/{name}", text.encode())
        path = Path(str(store.local_root)) / folder / name
        files[name] = (path.stat().st_size, file_digest(path))
    return Outcome("evaluation", "evaluation", key, folder, files, None)


def _note(store: Store, evaluation: Outcome[Nothing], finished: str) -> None:
    note_run(store, evaluation, finished=finished, recipe="demo", checkpoint="c", settings="name: demo")


def _before(store: Store, evaluation: Outcome[Nothing]) -> str | None:
    past = previous_run(store, evaluation)
    return None if past is None else past.finished


def test_a_run_is_held_against_the_last_one_that_came_to_other_numbers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a, b = _evaluation(store, "a", "1"), _evaluation(store, "b", "2")
    same = _evaluation(store, "other-key", "1")
    assert _before(store, a) is None
    _note(store, a, "first")
    for again in (a, same):
        assert _before(store, again) is None, "the same numbers again are no earlier run"
        _note(store, again, "again")
    assert [run.finished for run in read_history(store).runs] == ["first"]
    assert _before(store, b) == "first"
    _note(store, b, "second")
    assert _before(store, b) == "first", "a cached run tells the same as the run itself did"
    assert _before(store, a) == "second"
    _note(store, a, "back")
    assert _before(store, a) == "second" and _before(store, b) == "back"


def test_only_what_a_comparison_reads_is_given_and_nothing_where_a_part_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _note(store, _evaluation(store, "a", "1"), "first")
    past = previous_run(store, _evaluation(store, "b", "2"))
    assert past is not None
    assert sorted(past.refs(store, "previous/")) == [
        "previous/cross/records/b.json",
        "previous/metrics.json",
        "previous/records/a.json",
    ]
    assert past.refs(store, "")["metrics.json"] == _evaluation(store, "a", "1").ref("metrics.json")
    store.delete("items/evaluate/a/records/a.json")
    assert past.refs(store, "previous/") == {}


@pytest.mark.parametrize("path", ["/etc/passwd", "items/../../secret"])
def test_a_damaged_memory_or_one_that_leaves_the_store_is_none_and_is_said(
    path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    evaluation = _evaluation(store, "a", "1")
    _note(store, evaluation, "first")
    values = json.loads((tmp_path / HISTORY).read_text())
    values["runs"][0]["files"]["metrics.json"][0] = path
    for text in (json.dumps(values), "{", "[]"):
        (tmp_path / HISTORY).write_text(text)
        assert _before(store, _evaluation(store, "b", "2")) is None
        assert "is damaged, so runs before this one are not compared" in caplog.records[-1].message
    _note(store, evaluation, "anew")
    assert [run.finished for run in read_history(store).runs] == ["anew"]


def test_settings_that_are_others_are_told_with_both_values() -> None:
    before = "train: {stage1: {steps: 600, lr: 1}, old: null}\nname: demo\n"
    now = "train: {stage1: {steps: 800, lr: 1}, new: [1, 2]}\nname: demo\n"
    assert changed_settings(before, now) == (
        "train.stage1.steps: 600, now 800",
        "train.old: None, now no longer known",
        "train.new: not known then, now [1, 2]",
    )
    assert changed_settings(before, before) == ()
    with pytest.raises(ValueError, match="more than 10,000 values, counting aliases"):
        changed_settings(BOMB, now)
    many = "".join(f"s{i}: 1\n" for i in range(60))
    assert changed_settings(many, many.replace("1\n", "2\n"))[-1] == "and 20 more"
