"""What a refresh says of files: what came, changed, moved and went, and every one that is not taken, and why."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.engine.store import Store
from tasks.workspace.changes import SourceChanges, change_lines, note_sources, read_sources
from tasks.workspace.sources import Root, merge_subjects, scan
from tests.tasks.videos import encode, numbered


def look(store: Store, folder: Path) -> SourceChanges:
    return note_sources(store, scan(store, [Root(str(folder))]))


def told(changes: SourceChanges) -> dict[str, str]:
    return {change.name: change.what for change in changes.changes}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "work")


def test_what_came_changed_moved_and_went_is_told_with_the_reason(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "set" / "anna"
    root.mkdir(parents=True)
    for name in ("stays", "changes", "moves", "goes", "breaks", "twin"):
        (root / f"{name}.mp4").write_bytes(name.encode())
    assert set(told(look(store, tmp_path / "set")).values()) == {"added"}
    assert look(store, tmp_path / "set").changes == ()
    (root / "changes.mp4").write_bytes(b"other bytes")
    (root / "moves.mp4").rename(root / "moved.mp4")
    (root / "goes.mp4").unlink()
    (root / "breaks.mp4").unlink()
    (root / "breaks.mp4").symlink_to("nowhere")
    (root / "twin.mp4").write_bytes(b"stays")
    (root / "new.mp4").write_bytes(b"new")
    changes = look(store, tmp_path / "set")
    found = {(change.name, change.what): change.why for change in changes.changes}
    assert set(found) == {
        ("anna-changes", "changed"),
        ("anna-moved", "moved"),
        ("anna-new", "added"),
        ("anna-goes", "dropped"),
        ("anna-breaks", "dropped"),
        ("anna-twin", "dropped"),
        ("anna-breaks", "not taken"),
        ("anna-twin", "not taken"),
    }
    assert "is gone" in found["anna-goes", "dropped"]
    assert "a link to nowhere, which is not there" in found["anna-breaks", "dropped"]
    assert "same bytes as" in found["anna-twin", "dropped"]
    assert (changes.taken, changes.set_aside, changes.passed_over) == (4, 2, 0)


def test_every_file_that_is_not_taken_is_named_every_time(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for ending, codec in (("ts", "libx264"), ("wmv", "wmv2"), ("flv", "flv"), ("3gp", "libx264")):
        encode(root / f"{ending}.{ending}", numbered(6), codec=codec)
    others = ("notes.txt", "a.json", "half.ts", "._x.mp4")
    for name in others:
        (root / name).write_text(name)
    for _ in range(2):
        lines = list(change_lines(look(store, root), 200))
        assert lines[0] == ("files", "4 taken, 0 set aside, 4 passed over (see sources.parquet)")
        missing = "\n".join(text for label, text in lines if label == "not taken")
        assert all(name in missing for name in others) and missing.count("\n") == 3
    statuses = {row.name: row.status for row in read_sources(store)}
    assert statuses == dict.fromkeys(("ts", "wmv", "flv", "3gp"), "taken") | dict.fromkeys(
        ("notes", "a", "half", "._x"), "passed over"
    )


def test_another_name_of_a_subject_is_told_and_nothing_is_new(store: Store, tmp_path: Path) -> None:
    (tmp_path / "set" / "ann").mkdir(parents=True)
    (tmp_path / "set" / "ann" / "a.mp4").write_bytes(b"1")
    look(store, tmp_path / "set")
    merge_subjects(store, "anna", ["ann"])
    (change,) = look(store, tmp_path / "set").changes
    assert (change.what, change.why) == ("renamed", "subject ann is now anna")


def test_many_lines_of_a_kind_are_cut_and_say_where_the_rest_is(store: Store, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for number in range(12):
        (tmp_path / "set" / f"{number}.mp4").write_bytes(bytes([number]))
    lines = list(change_lines(look(store, tmp_path / "set"), 10))
    assert len(lines) == 12 and lines[-1] == ("added", "… and 2 more, see sources.parquet")


def test_a_look_from_before_dates_of_recordings_is_still_one(store: Store, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.mp4").write_bytes(b"1")
    look(store, tmp_path / "set")
    place = store.local_path("sources.parquet")
    earlier = pq.read_table(place).drop_columns(["recorded"]).replace_schema_metadata({"schema_version": "1"})
    pq.write_table(earlier, place)
    assert [row.recorded for row in read_sources(store)] == [None] and not look(store, tmp_path / "set").changes
    pq.write_table(pq.read_table(place).replace_schema_metadata({"schema_version": "3"}), place)
    assert read_sources(store) == []
