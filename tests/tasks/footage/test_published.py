"""HDTF's and VFHQ's lists in, local files in, a table of footage out, and everything that is missing by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tasks.footage.card import load_card
from tasks.footage.manifest import read_manifest
from tasks.footage.match import match_lines, match_lists
from tasks.footage.published import read_lists
from tests.tasks.videos import encode, numbered

HDTF = {
    "RD_annotion_time.txt": "Radio11.mp4 00:30-01:00 01:30-02:30\nRadio2.mp4 00:22-01:45\n",
    "RD_video_url.txt": "Radio11 https://www.youtube.com/watch?v=XtySvTwIOfw\n"
    "Radio2 https://www.youtube.com/watch?v=uBWJJvynXpA&t=6s\n",
    "WDA_annotion_time.txt": "AdamSchiff.mp4 00:05-04:40\nTerriSewell1.mp4 00:12-07:30\n"
    "WhipJimClyburn.mp4 00:05-04:40 \n"
    "Odd.mp4 04:00-03:00 nonsense\n",
    "WDA_video_url.txt": "AdamSchiff https://www.youtube.com/watch?v=wMypCqkYKS8&t=8s\n",
}


def lists(folder: Path) -> Path:
    folder.mkdir()
    for name, text in HDTF.items():
        (folder / name).write_text(text)
    return folder


def test_hdtf_lists_and_files_become_spans_and_what_is_missing_is_named(tmp_path: Path) -> None:
    card, videos = load_card("hdtf"), tmp_path / "have"
    listed = read_lists(card, lists(tmp_path / "lists"))
    assert (len(listed.spans), len(listed.videos)) == (6, 5)
    assert [problem.split(":")[0] for problem in listed.problems] == [
        "WDA_annotion_time.txt, Odd.mp4",
        "WDA_annotion_time.txt, Odd.mp4",
        "WRA_annotion_time.txt is not in " + str(tmp_path / "lists"),
    ]
    for name in ("RD/Radio11.mp4", "cut/WDA_AdamSchiff_000.mp4", "cut/WhipJimClyburn_0.mp4", "cut/Somebody.mp4"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).write_bytes(name.encode())
    found = match_lists(card, listed, videos)
    assert [(row.name, row.subject, row.start_s, row.end_s) for row in found.rows] == [
        ("RD_Radio11_0", "Radio", 30.0, 60.0),
        ("RD_Radio11_1", "Radio", 90.0, 150.0),
        ("WDA_AdamSchiff_0", "AdamSchiff", 0.0, None),
        ("WDA_WhipJimClyburn_0", "JamesClyburn", 0.0, None),
    ]
    assert set(found.missing_videos) == {"RD/Radio2", "WDA/TerriSewell1"}
    told = "\n".join(match_lines(card, listed, found))
    assert "missing     RD/Radio2 (1 span, https://www.youtube.com/watch?v=uBWJJvynXpA&t=6s)" in told
    assert "missing     WDA/TerriSewell1 (1 span, no address listed)" in told
    assert f"not listed  {videos / 'cut' / 'Somebody.mp4'}" in told


def test_a_whole_video_named_by_its_identifier_is_found(tmp_path: Path) -> None:
    (tmp_path / "have").mkdir()
    (tmp_path / "have" / "A speech, 2014 [XtySvTwIOfw].webm").write_bytes(b"v")
    found = match_lists(load_card("hdtf"), read_lists(load_card("hdtf"), lists(tmp_path / "lists")), tmp_path / "have")
    assert [(row.name, row.start_s) for row in found.rows] == [("RD_Radio11_0", 30.0), ("RD_Radio11_1", 90.0)]


def test_what_is_no_folder_is_not_taken_for_one_in_which_everything_is_missing(tmp_path: Path) -> None:
    listed, table = read_lists(load_card("hdtf"), lists(tmp_path / "lists")), tmp_path / "table.csv"
    table.write_text("uri\na.mp4\n")
    with pytest.raises(ValueError, match=r"table\.csv is no folder"):
        match_lists(load_card("hdtf"), listed, table)


def test_vfhq_annotations_give_rate_and_span_to_frame_folders_and_whole_videos(tmp_path: Path) -> None:
    card, meta, videos = load_card("vfhq"), tmp_path / "meta", tmp_path / "have"
    meta.mkdir()
    names = ["Clip+_-91nXXjrVo+P0+C0+F1537-1825", "Clip+G0DGRma_p48+P1+C2+F100-160", "Clip+aaaaaaaaaaa+P0+C0+F5-50"]
    for name in names:
        (meta / f"{name}.txt").write_text("H 720\nW 1280\nFPS 30.0\nCROP 1 2 3 4\n")
    (meta / "Clip+bbbbbbbbbbb+P0+C0+F5-50.txt").write_text("H 720\n")
    (videos / names[0]).mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8, 8)).save(videos / names[0] / f"{number:08d}.png")
    (videos / "G0DGRma_p48.mp4").write_bytes(b"v")
    listed = read_lists(card, meta)
    found = match_lists(card, listed, videos)
    assert listed.problems == ("Clip+bbbbbbbbbbb+P0+C0+F5-50.txt: it has no FPS line",)
    rows = {row.name: (row.subject, row.fps, row.start_s, row.end_s) for row in found.rows}
    assert rows == {
        names[0]: ("_-91nXXjrVo", 30.0, 0.0, None),
        names[1]: ("G0DGRma_p48", None, 3.36667, 5.33333),
    }
    assert [span.clip for span in found.missing] == [names[2]]


def test_the_whole_way_by_the_command_line(tmp_path: Path) -> None:
    lists(tmp_path / "lists")
    (tmp_path / "have").mkdir()
    encode(tmp_path / "have" / "Radio11.mp4", numbered(4))

    def fye(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.cli", "sources", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    output = tmp_path / "hdtf.csv"
    where = ("--lists", str(tmp_path / "lists"), "--videos", str(tmp_path / "have"), "--output", str(output))
    made = fye("manifest", "hdtf", *where)
    assert made.returncode == 0, made.stderr
    assert "6 spans of 5 videos are listed" in made.stdout and "missing     RD/Radio2" in made.stdout
    rows, bad = read_manifest(output)
    assert (len(rows), bad) == (2, [])
    checked = fye("check", str(output), "--source", "hdtf")
    assert checked.returncode == 1, "there is less than the card says"
    assert "subjects    1" in checked.stdout and "of 362 expected: fewer" in checked.stdout


def test_a_source_without_lists_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="captured has no published lists"):
        read_lists(load_card("captured"), tmp_path)
    with pytest.raises(ValueError, match=r"holds no span of HDTF.*annotion_time.*github"):
        read_lists(load_card("hdtf"), tmp_path)
