"""Folders of portraits and drivers become one result a pair; what is done is kept, what fails is written down."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

from tasks.animation.pairs import find_pairs
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.animate import AnimateSettings
from tasks.jobs.animate_many import animate_many
from tasks.media.read import read_frames
from tests.tasks.performing import QUICK
from tests.tasks.videos import encode


@pytest.fixture
def folders(tmp_path: Path, sample_clips: list[Path]) -> Path:
    """Two portraits, and two drivers of which one shows nobody."""
    for name in ("portraits", "drivers"):
        (tmp_path / name).mkdir()
    face = Image.fromarray(data.astronaut()).crop((90, 0, 370, 280))
    face.save(tmp_path / "portraits" / "anna.png")
    face.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "portraits" / "bob.jpg")
    (tmp_path / "portraits" / "notes.txt").write_text("of the shoot")
    frames = read_frames(sample_clips[0], slice(0, 4))
    encode(tmp_path / "drivers" / "talk.mp4", frames)
    encode(tmp_path / "drivers" / "wall.mp4", frames * 0 + 90)
    return tmp_path


@pytest.fixture
def run(folders: Path, model: Path, landmarker_asset: LandmarkerAsset) -> Any:
    def animate(**changes: Any) -> tuple[dict[str, Any], list[str]]:
        lines: list[str] = []
        places = (folders / "portraits", folders / "drivers", model, folders / "out", landmarker_asset)
        workers = changes.pop("workers", 1)
        settings = AnimateSettings.model_validate(changes)
        return animate_many(*places, settings, QUICK, device="cpu", log=lines.append, workers=workers), lines

    return animate


def test_every_pair_is_made_once_and_made_again_only_where_something_changed(run: Any, folders: Path) -> None:
    records, lines = run()
    assert sorted(path.name for path in (folders / "out").glob("*.mp4")) == ["anna--talk.mp4", "bob--talk.mp4"]
    assert "none of 4 frames" in records["anna--wall.mp4"].error and records["bob--talk.mp4"].frames == 4
    assert set(json.loads((folders / "out" / "animations.json").read_text())) == set(records)
    (over,) = [line for line in lines if line.startswith("WARNING")]
    assert "passed over" in over and "notes.txt: not a readable picture" in over
    assert len(lines) == 1 + 4 + len([line for line in lines if line.startswith("device")])
    times = {path.name: path.stat().st_mtime_ns for path in (folders / "out").glob("*.mp4")}
    (folders / "out" / "bob--talk.mp4").write_bytes(b"damaged")
    _, lines = run(workers=None)
    assert any(line.startswith("1 of 4 anna--talk.mp4: kept") for line in lines)
    assert any(line.startswith("3 of 4 bob--talk.mp4: made") for line in lines), "damaged"
    assert (folders / "out" / "anna--talk.mp4").stat().st_mtime_ns == times["anna--talk.mp4"]
    _, lines = run(paste_back=True, workers=0)
    assert not any("kept" in line for line in lines), "other settings, other results"


def test_several_workers_make_the_same_and_only_what_is_missing(run: Any, folders: Path) -> None:
    alone, _ = run()
    made = {path.name: path.read_bytes() for path in (folders / "out").glob("*.mp4")}
    (folders / "out" / "anna--talk.mp4").unlink()
    (folders / "out" / "bob--talk.mp4").write_bytes(b"damaged")
    together, lines = run(workers=2)
    assert together == alone and "none of 4 frames" in together["anna--wall.mp4"].error
    assert {path.name: path.read_bytes() for path in (folders / "out").glob("*.mp4")} == made
    assert lines[1].startswith("up to 2 workers") and len([line for line in lines if " left" in line]) == 4
    assert json.loads((folders / "out" / "animations.json").read_text())["bob--talk.mp4"]["frames"] == 4
    assert "ray" in sys.modules and not sys.modules["ray"].is_initialized(), "nothing of it is left behind"


def test_pairs_have_names_of_their_own(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    frames = tmp_path / "frames"
    frames.mkdir()
    Image.new("RGB", (8, 8)).save(frames / "0.png")
    pairs, over = find_pairs(tmp_path, frames, tmp_path / "out", ".webp")
    assert [pair.output.name for pair in pairs] == ["a_jpg--frames.webp", "a_png--frames.webp", "b--frames.webp"]
    assert over == [f"{frames}: a folder, not a file; remove it, or name a file"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"neither videos .* nor frames"):
        find_pairs(tmp_path, tmp_path / "empty", tmp_path / "out", ".mp4")
    with pytest.raises(ValueError, match="the portraits"):
        find_pairs(tmp_path / "empty", frames, tmp_path / "out", ".mp4")


def test_what_is_no_driver_is_told_and_hidden_files_are_not(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.parquet", "smile.gif", ".DS_Store"):
        (tmp_path / name).touch()
    pairs, (over,) = find_pairs(tmp_path / "anna.png", tmp_path, tmp_path / "out", ".mp4")
    assert [pair.driving.name for pair in pairs] == ["a.mp4", "b.parquet"]
    assert over.startswith(f"{tmp_path / 'smile.gif'}: neither a video nor a landmark table") and ".mp4" in over


def test_records_of_somebody_else_are_not_overwritten(run: Any, folders: Path) -> None:
    (folders / "out").mkdir()
    (folders / "out" / "animations.json").write_text('{"songs": 3}')
    with pytest.raises(ValueError, match="is not what animations write down"):
        run()
