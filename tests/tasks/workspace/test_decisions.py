"""Decisions are merged, kept whole, and refused with a clear word when they are something else."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.engine.store import Store
from tasks.workspace.decisions import DECISIONS, Decision, read_decisions, take_decisions


def saved(path: Path, decisions: dict[str, object], schema: int = 1) -> Path:
    path.write_text(json.dumps({"schema": schema, "decisions": decisions}))
    return path


def test_later_decisions_go_over_earlier_ones(tmp_path: Path) -> None:
    store = Store(tmp_path / "work")
    assert read_decisions(store) == {}
    first = saved(tmp_path / "1.json", {"a": {"keep": True, "name": "x"}, "b": {"keep": False}})
    assert take_decisions(store, first) == (2, 2)
    assert take_decisions(store, first) == (0, 2)
    assert take_decisions(store, saved(tmp_path / "2.json", {"b": {"keep": True}})) == (1, 1)
    assert read_decisions(store) == {"a": Decision(keep=True, name="x"), "b": Decision(keep=True)}


def test_decisions_taken_at_once_are_all_kept(tmp_path: Path) -> None:
    files = [saved(tmp_path / f"{number}.json", {f"clip-{number}": {"keep": True}}) for number in range(40)]
    together = threading.Barrier(8, timeout=20)

    def take(path: Path) -> None:
        together.wait()
        take_decisions(Store(tmp_path / "work"), path)

    with ThreadPoolExecutor(8) as several:
        list(several.map(take, files))
    assert len(read_decisions(Store(tmp_path / "work"))) == 40


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "not a file of decisions"),
        ('{"schema": 1, "decisions": {"a": {"keep": "perhaps"}}}', r"decisions\.a\.keep"),
        ('{"schema": 1, "decisions": {}, "run": "rm"}', "run"),
        ('{"schema": 2, "decisions": {}}', "schema 2"),
    ],
)
def test_another_file_is_refused_and_changes_nothing(tmp_path: Path, text: str, word: str) -> None:
    store, path = Store(tmp_path / "work"), tmp_path / "some.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=word):
        take_decisions(store, path)
    assert not store.exists(DECISIONS)
    store.write_bytes(DECISIONS, text.encode())
    with pytest.raises(ValueError, match=rf"work/decisions\.json.*{word}"):
        read_decisions(store)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        take_decisions(Store(tmp_path / "work"), tmp_path / "none.json")
