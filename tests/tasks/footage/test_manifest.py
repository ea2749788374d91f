"""A table of footage: its rows, and what is wrong with them by line."""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fye_model.config import IngestConfig, Runtime
from tasks.clips import CLIPS, ClipWorker, CutSettings, clip_items
from tasks.engine.items import Item, Quarantine
from tasks.engine.stage import Context, item_handler
from tasks.engine.store import Store, file_digest
from tasks.faces.landmarker import LandmarkerAsset
from tasks.footage.manifest import Row, read_manifest, write_manifest
from tasks.media.normalise import normalise
from tasks.media.read import read_frames
from tasks.media.span import SpanFacts, TakenSpan
from tasks.workspace.sources import Root, merge_subjects, register_root, scan, set_aside
from tests.tasks.videos import encode, number_of, numbered


def table(folder: Path, text: str) -> Path:
    (folder / "set.csv").write_text(text)
    return folder / "set.csv"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_is_written_is_read_again(tmp_path: Path, ending: str) -> None:
    day = Row(uri="a, b.mp4", start_s=1.5, end_s=2, subject="anna", recorded="2019-05-31")
    rows = [day, Row(uri="c.mp4", licence='"own"', split="val")]
    write_manifest(tmp_path / f"t.{ending}", rows)
    assert read_manifest(tmp_path / f"t.{ending}") == (rows, [])


def test_a_bad_span_costs_its_row_and_is_named_with_its_line(tmp_path: Path) -> None:
    text = "uri,start_s,end_s\na.mp4,5,3\nb.mp4,-1,\nc.mp4,x,\nd.mp4,0,2\n,1,2\ne.mp4,1,2,3\nf.mp4,nan,\n"
    good, bad = read_manifest(table(tmp_path, text))
    assert [row.uri for row in good] == ["d.mp4"]
    assert [problem.line for problem in bad] == [2, 3, 4, 6, 7, 8]
    assert "expected 0 <= start_s < end_s, got 5 and 3.0" in bad[0].message
    store = Store(tmp_path / "work")
    aside = set_aside(scan(store, [Root(str(tmp_path / "set.csv"))]))
    assert [outcome.reason for outcome in aside] == ["bad_row"] * 6 + ["missing"]
    assert "set.csv, line 2 (a.mp4)" in str(aside[0].message)


def test_a_rows_line_is_that_of_the_file_after_empty_lines_and_fields_of_several(tmp_path: Path) -> None:
    text = 'uri,name,start_s\n\n\na.mp4,,-1\nb.mp4,"two\nlines",0\n\nc.mp4,,-1\n'
    good, bad = read_manifest(table(tmp_path, text))
    assert [row.uri for row in good] == ["b.mp4"]
    assert [(problem.line, problem.uri) for problem in bad] == [(4, "a.mp4"), (8, "c.mp4")]


def test_a_day_or_a_year_of_recording_is_read_and_anything_else_is_named_with_file_line_and_value(
    tmp_path: Path,
) -> None:
    wrong = (
        "31.5.2019",
        "2019-5",
        "20190531",
        "2019-W22-5",
        "2019-02-30",
        "0000",
        "19",
        " 2019",
        "\u0662\u0660\u0661\u0669",
    )
    lines = "".join(f"{number}.mp4,{value}\n" for number, value in enumerate(("2019-05-31", "2019", "", *wrong)))
    place = table(tmp_path, "uri,recorded\n" + lines)
    good, bad = read_manifest(place)
    assert [row.recorded for row in good] == ["2019-05-31", "2019", None]
    assert [problem.line for problem in bad] == list(range(5, 5 + len(wrong)))
    for value, problem in zip(wrong, bad, strict=True):
        assert problem.message == f"recorded: expected a day as 2019-05-31 or a year as 2019, got {value!r}"
    told = set_aside(scan(Store(tmp_path / "work"), [Root(str(place))]))[0].message
    assert told is not None and f"{place}, line 5 (3.mp4): recorded: " in told and "got '31.5.2019'" in told


def test_parquet_may_hold_days_as_dates_and_years_as_numbers(tmp_path: Path) -> None:
    columns = (
        ([date(2019, 5, 31), None], pa.date32(), ["2019-05-31", None]),
        ([2019, None], pa.int64(), ["2019", None]),
        ([datetime(2019, 5, 31), None], pa.timestamp("ms"), "2019-05-31 00:00:00"),
        ([2019.0, None], pa.float64(), "2019.0"),
        ([True, None], pa.bool_(), "True"),
    )
    for values, kind, expected in columns:
        pq.write_table(
            pa.table({"uri": ["a.mp4", "b.mp4"], "recorded": pa.array(values, kind)}), tmp_path / "t.parquet"
        )
        good, bad = read_manifest(tmp_path / "t.parquet")
        if isinstance(expected, list):
            assert [row.recorded for row in good] == expected and not bad
        else:
            assert [row.uri for row in good] == ["b.mp4"] and f"got {expected!r}" in bad[0].message


def test_a_date_of_recording_travels_and_makes_no_new_work(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    store, keys = Store(tmp_path / "work"), []
    for head, row in (("uri,start_s", "a.mp4,1"), ("uri,start_s,recorded", "a.mp4,1,2019-05-31")):
        sources = scan(store, [Root(str(table(tmp_path, f"{head}\n{row}\n")))])
        keys.append(CLIPS.keys(store, CutSettings(), None, clip_items(sources)))
    assert sources[0].recorded == "2019-05-31" and keys[0] == keys[1]


@pytest.mark.parametrize(
    ("head", "says"), [("url\n", "unknown column 'url'; did you mean 'uri'"), ("start_s\n", "no column 'uri'")]
)
def test_a_table_of_other_columns_is_refused(tmp_path: Path, head: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_manifest(table(tmp_path, head))
    (tmp_path / "t.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match="cannot be read as a table"):
        read_manifest(tmp_path / "t.parquet")


def taken(item: Item[SpanFacts], store: Store, out: Path) -> TakenSpan:
    """The item's span as video.mp4 in `out`, and what is known of it."""
    source = store.local_path(item.inputs["source"].path)
    return normalise(source, out / "video.mp4", IngestConfig(), item.facts)[0]


def test_spans_of_one_file_are_sources_of_their_own_and_are_taken_as_such(tmp_path: Path) -> None:
    video = encode(tmp_path / "long.mp4", numbered(50), options={"g": "10"})
    rows = "long.mp4,0.2,0.6,anna\nlong.mp4,1.2,,anna\nlong.mp4,1.2,,anna\nlong.mp4,,,anna\n"
    place = table(tmp_path, "uri,start_s,end_s,subject\n" + rows)
    store = Store(tmp_path / "work")
    register_root(store, Root(str(place)))
    sources = scan(store, [Root(str(place))])
    assert [(source.name, source.subject) for source in sources[:2]] == [
        ("long@0.2-0.6", "anna"),
        ("long@1.2-", "anna"),
    ]
    assert [outcome.reason for outcome in set_aside(sources)] == ["duplicate"], "the same span twice"
    items = clip_items(sources)
    assert len({item.id for item in items}) == 3 and items[2].id == file_digest(video)[:16]
    keys = CLIPS.keys(store, CutSettings(), None, items)
    assert len(set(keys)) == 3
    for item, first, count in zip(items, (5, 30, 0), (10, 20, 50), strict=True):
        row = taken(item, store, tmp_path / item.id)
        assert row.frames == count
        assert number_of(read_frames(tmp_path / item.id / "video.mp4", [0])[0]) == first % 38


def test_a_span_that_the_file_does_not_reach_is_named(tmp_path: Path) -> None:
    encode(tmp_path / "short.mp4", numbered(10))
    store = Store(tmp_path / "work")
    (item,) = clip_items(scan(store, [Root(str(table(tmp_path, "uri,start_s\nshort.mp4,30\n")))]))
    with pytest.raises(Quarantine, match="in this span"):
        taken(item, store, tmp_path / "out")


def test_an_address_is_read_where_it_lies_and_held_to_its_hash(tmp_path: Path) -> None:
    video = encode(tmp_path / "a.mp4", numbered(5))
    with fsspec.open("memory://bucket/anna/a.mp4", "wb") as file:
        file.write(video.read_bytes())
    sha256, size = file_digest(video), video.stat().st_size
    rows = (
        f"memory://bucket/anna/a.mp4,,\nmemory://bucket/gone.mp4,,\nmemory://bucket/later.mp4,{sha256[::-1]},{size}\n"
    )
    sources = scan(Store(tmp_path / "work"), [Root(str(table(tmp_path, "uri,sha256,size\n" + rows)))])
    assert [source.problem and source.problem[0] for source in sources] == [None, "unreadable", None]
    assert (sources[0].sha256, sources[0].size) == (sha256, size)
    assert sources[2].sha256 == sha256[::-1], "not read before it is worked on"


def test_a_subject_in_both_splits_stops_the_run_also_under_another_name(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    root = Root(str(table(tmp_path, "uri,subject,split\na.mp4,anna,val\nb.mp4,ann,train\n")))
    store = Store(tmp_path / "work")
    assert [source.split for source in scan(store, [root])] == ["val", "train"]
    merge_subjects(store, "anna", ["ann"])
    with pytest.raises(ValueError, match="in both splits: anna"):
        scan(store, [root])
    with pytest.raises(ValueError, match="circle"):
        merge_subjects(store, "ann", ["anna"])


def test_a_folder_of_pictures_in_a_table_is_read_at_its_rate(tmp_path: Path) -> None:
    (tmp_path / "Clip 50%d").mkdir()
    for number, image in enumerate(numbered(20, 64, 48)):
        Image.fromarray(image).save(tmp_path / "Clip 50%d" / f"{number + 7}.png")
    table_ = pa.table({"uri": ["Clip 50%d", "Clip 50%d"], "fps": [50.0, None]})
    pq.write_table(table_, tmp_path / "t.parquet")
    store = Store(tmp_path / "work")
    sources = scan(store, [Root(str(tmp_path / "t.parquet"))])
    assert [outcome.reason for outcome in set_aside(sources)] == ["no_rate"]
    (item,) = clip_items(sources)
    row = taken(item, store, tmp_path / "out")
    assert (row.frames, row.source_frames, row.source_fps, row.has_audio) == (10, 20, 50.0, False)
    (tmp_path / "Clip 50%d" / "8.png").write_bytes((tmp_path / "Clip 50%d" / "9.png").read_bytes())
    assert clip_items(scan(store, [Root(str(tmp_path / "t.parquet"))]))[0].id != item.id, "its content is its name"


def test_a_rate_for_a_file_costs_its_row_and_says_so(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", numbered(5))
    with fsspec.open("memory://bucket/rate.mp4", "wb") as file:
        file.write(b"v")
    rows = "uri,fps,start_s\na.mp4,30,\na.mp4,,0.1\nmemory://bucket/rate.mp4,25,\n"
    sources = scan(Store(tmp_path / "work"), [Root(str(table(tmp_path, rows)))])
    told = [outcome.message for outcome in set_aside(sources) if outcome.reason == "rate_of_a_file"]
    assert len(told) == 2 and len(clip_items(sources)) == 1
    assert "a.mp4 is a file with times of its own; take fps out of its line in set.csv" in str(told)


def test_names_that_a_disk_refuses_cost_only_their_rows(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", numbered(5))
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    table_ = pa.table({"uri": ["x" * 300, "zero\0byte.mp4", "loop", "pipe", "a.mp4/b.mp4", "a.mp4"]})
    pq.write_table(table_, tmp_path / "t.parquet")
    sources = scan(Store(tmp_path / "work"), [Root(str(tmp_path / "t.parquet"))])
    reasons = [source.problem and source.problem[0] for source in sources]
    assert reasons == ["unreadable", "unreadable", "unreadable", "no_file", "missing", None]


def test_an_address_that_holds_other_bytes_than_the_table_says_is_set_aside(
    landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    video = encode(tmp_path / "a.mp4", numbered(30))
    for name in ("good", "other"):
        with fsspec.open(f"memory://bucket/{name}.mp4", "wb") as file:
            file.write(video.read_bytes())
    further = encode(tmp_path / "b.mp4", numbered(31))
    with fsspec.open("memory://bucket/../../../../out.mp4", "wb") as file:
        file.write(further.read_bytes())
    rows = "".join(
        f"memory://bucket/{name}.mp4,{sha256},{size.stat().st_size}\n"
        for name, sha256, size in (
            ("good", file_digest(video), video),
            ("other", "0" * 64, video),
            ("../../../../out", file_digest(further), further),
        )
    )
    store = Store(tmp_path / "work")
    items = clip_items(scan(store, [Root(str(table(tmp_path, "uri,sha256,size\n" + rows)))]))
    worked = []
    context = Context(Runtime(), "cpu", landmarker_asset)
    with item_handler(CLIPS, store.url, lambda: ClipWorker(CutSettings(), context)) as handle:
        for item, key in zip(items, CLIPS.keys(store, CutSettings(), None, items), strict=True):
            worked.append(handle((item, key)))
    assert [outcome.reason for outcome in worked] == ["no_face", "changed", "no_face"]
    assert not [path for path in (tmp_path / "work" / "partial").rglob("*.mp4")], "no copy is left on the disk"
