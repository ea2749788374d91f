"""Long videos become spans that cover them once, by the command line and back through the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli import app
from tasks.clips import clip_items
from tasks.engine.store import Store
from tasks.footage.spans import span_rows, spans
from tasks.workspace.sources import Root, scan
from tests.tasks.videos import encode, numbered


def test_spans_are_equal_and_cover_everything_once() -> None:
    assert spans(0.0, 10.0, 4.0) == [(0.0, 3.333), (3.333, 6.667), (6.667, 10.0)]
    assert spans(2.0, 6.0, 4.0) == [(2.0, 6.0)]


def test_a_folders_long_videos_become_spans_of_the_same_subjects(tmp_path: Path) -> None:
    (tmp_path / "videos" / "anna").mkdir(parents=True)
    encode(tmp_path / "videos" / "anna" / "talk.mp4", numbered(75))
    encode(tmp_path / "videos" / "anna" / "smile.mp4", numbered(20))
    (tmp_path / "videos" / "anna" / "notes.txt").write_text("no video")
    table = tmp_path / "videos" / "spans.csv"
    words = ["sources", "spans", str(tmp_path / "videos"), "--output", str(table), "--most-s", "1.2"]
    assert app(words, result_action="return_value") == 0
    found = scan(Store(tmp_path / "work"), [Root(str(table))])
    assert {source.subject for source in found} == {"anna"} and not any(source.problem for source in found)
    told = [(Path(source.path).name, source.start_s, source.end_s) for source in found]
    assert sorted(told, key=str) == [
        ("smile.mp4", 0.0, None),
        ("talk.mp4", 0.0, 1.0),
        ("talk.mp4", 1.0, 2.0),
        ("talk.mp4", 2.0, None),
    ]
    whole = scan(Store(tmp_path / "other"), [Root(str(tmp_path / "videos"))])
    ids = {item.id for item in clip_items(whole)}
    assert len(ids & {item.id for item in clip_items(found)}) == 1, "what stays whole stays known"
    again = tmp_path / "again.parquet"
    words = ["sources", "spans", str(table), "--output", str(again), "--most-s", "0.6"]
    assert app(words, result_action="return_value") == 0
    shorter = scan(Store(tmp_path / "third"), [Root(str(again))])
    assert len(shorter) == 8 and {source.subject for source in shorter} == {"anna"}


def test_the_spans_of_a_dated_video_have_its_date(tmp_path: Path) -> None:
    encode(tmp_path / "talk.mp4", numbered(20))
    (tmp_path / "set.csv").write_text("uri,recorded\ntalk.mp4,2019-05-31\n")
    rows = list(span_rows(Root(str(tmp_path / "set.csv")), tmp_path / "spans.csv", 0.5))
    assert [row.recorded for row in rows] == ["2019-05-31"] * 2


def test_a_length_that_is_none_is_refused(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", numbered(10))
    with pytest.raises(ValueError, match="more than 0 seconds, got 0"):
        app(["sources", "spans", str(tmp_path), "--output", "s.csv", "--most-s", "0"], result_action="return_value")
