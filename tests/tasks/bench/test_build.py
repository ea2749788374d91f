"""A bench is made of whatever is offered, the same every time, and whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.bench.manifest import Bench, DrivingRow, PairRow, PortraitRow, read_bench
from tasks.bench.offers import find_offers, unique_ids
from tasks.bench.pairs import draw_pairs
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.build_bench import BuildSettings, build_bench
from tasks.media.read import probe, read_frames
from tests.tasks.bench.mini import FRAMES, SETTINGS, SIZE, build_mini


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_can_be_taken_is_taken_and_the_rest_is_listed_with_reasons(mini_bench: Bench) -> None:
    portraits = {row.id: row for row in mini_bench.portraits}
    assert set(portraits) == {"some-face", "wall", "self.astronaut-talk", "self.astronaut-turn"}
    face, wall = portraits["some-face"], portraits["wall"]
    assert (face.style, face.source, face.detectable) == ("real", "nasa", True)
    assert (wall.style, wall.source, wall.detectable) == ("cartoon", "model-a", False)
    assert {row.source_file: row.reason for row in mini_bench.rejected} == {
        "broken.mp4": "not_a_video",
        "wall.mp4": "no_face",
        "text.png": "not_a_picture",
        "twice.png": "duplicate",
    }
    assert all(str(mini_bench.folder.parent) not in row.message for row in mini_bench.rejected)


def test_portraits_and_videos_are_square_and_as_their_rows_say(mini_bench: Bench) -> None:
    for row in mini_bench.driving:
        info = probe(mini_bench.path(row.file))
        frames = read_frames(mini_bench.path(row.file))
        assert frames.shape == (FRAMES, SIZE, SIZE, 3) and row.frames == FRAMES
        assert info.fps == pytest.approx(row.fps) and row.detected > 0.9
        own = next(portrait for portrait in mini_bench.portraits if portrait.frame_of == row.id)
        np.testing.assert_array_equal(np.asarray(Image.open(mini_bench.path(own.file))), frames[0])
    turn = next(row for row in mini_bench.driving if row.id == "astronaut-turn")
    assert turn.yaw_deg > 10 and {"gaze", "open_mouth"} <= set(turn.tags)


def test_the_same_files_and_seed_give_the_same_bytes(
    mini_bench: Bench, offers: tuple[Path, Path], landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    again = build_mini(offers, tmp_path / mini_bench.folder.name, landmarker_asset)
    assert _files(again.folder) == _files(mini_bench.folder)


def test_a_failure_in_the_middle_leaves_the_older_bench(
    mini_bench: Bench, offers: tuple[Path, Path], landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    output = tmp_path / "bench"
    shutil.copytree(mini_bench.folder, output)

    def stop(line: str) -> None:
        if line.startswith("portrait"):
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="pulled the plug"):
        build_bench(*offers, output, SETTINGS, landmarker_asset, stop)
    assert _files(output) == _files(mini_bench.folder) and [path.name for path in tmp_path.iterdir()] == ["bench"]


def test_what_cannot_become_a_bench_is_refused_and_nothing_is_written(
    offers: tuple[Path, Path], landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    empty, mine, walls = (tmp_path / name for name in ("empty", "mine", "walls"))
    for folder in (empty, mine, walls):
        folder.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    (walls / "broken.mp4").write_bytes(b"\0" * 50)
    for portraits, driving, output, message in (
        (empty, offers[1], tmp_path / "out", "no pictures in .*expected files ending in .bmp"),
        (offers[0], empty, tmp_path / "out", "no videos in"),
        (offers[0], tmp_path / "absent", tmp_path / "out", "absent is not a folder; give a folder of videos"),
        (*offers, mine, "mine exists and is no bench"),
        (offers[0], walls, tmp_path / "out", "not one driving video could be taken.*\n.*broken.mp4: not_a_video"),
    ):
        with pytest.raises(ValueError, match=message):
            build_bench(portraits, driving, output, SETTINGS, landmarker_asset, lambda line: None)
    assert (mine / "thesis.txt").read_text() == "years of work" and not (tmp_path / "out").exists()


def test_about_csv_goes_before_the_place_and_its_wrong_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "animal" / "zoo").mkdir(parents=True)
    for name in ("animal/zoo/cat.png", "dog.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "about.csv").write_text("file,style,licence\ndog.png,animal,CC0\nanimal/zoo/cat.png,cartoon,\n")
    cat, dog = find_offers(tmp_path, {".png"}, "pictures")
    assert (cat.style, cat.source, cat.licence) == ("cartoon", "zoo", "unknown")
    assert (dog.style, dog.source, dog.licence) == ("animal", "unknown", "CC0")
    (tmp_path / "about.csv").write_text("file,style,tags\nbird.png,animal,\ndog.png,manga,frown;sneer\n")
    with pytest.raises(ValueError, match=r"(?s)line 2: there is no file 'bird.png'.*'manga'; expected.*tags sneer"):
        find_offers(tmp_path, {".png"}, "pictures")


def test_ids_are_unique_and_fit_into_the_name_of_a_result() -> None:
    names = ["a/my face!.png", "b/my__face.jpg", "MY-face.png", "self.x.png", "…"]
    ids = unique_ids(names)
    assert len({made.lower() for made in ids.values()}) == len(names)
    assert ids["self.x.png"] == "self-x"
    for made in ids.values():
        PairRow(portrait=made, driving="x", kind="cross")


def test_pairs_are_drawn_by_seed_and_use_everybody_alike() -> None:
    rest = {
        "size": 8,
        "source": "",
        "licence": "",
        "source_file": "",
        "source_sha256": "",
        "left": 0,
        "top": 0,
        "side": 8,
    }
    portraits = [
        PortraitRow(id=f"p{i}", file="x", style="real", detectable=True, frame_of="", **rest) for i in range(6)
    ]
    numbers = {"detected": 1.0, "yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0, "start_s": 0.0}
    videos = [DrivingRow(id=f"d{i}", file="x", fps=25, frames=9, tags=(), **rest, **numbers) for i in range(4)]
    drawn = draw_pairs(portraits, videos, 12, seed=3)
    assert drawn == draw_pairs(portraits, videos, 12, seed=3) != draw_pairs(portraits, videos, 12, seed=4)
    assert len(set(drawn)) == 12
    assert {sum(pair.portrait == row.id for pair in drawn) for row in portraits} == {2}
    assert {sum(pair.driving == row.id for pair in drawn) for row in videos} == {3}
    assert len(draw_pairs(portraits, videos, 999, seed=0)) == 24, "all there are"


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"size": 100}, {"pairs": 0}, {"seconds": -1.0}):
        with pytest.raises(ValueError):
            BuildSettings(**wrong)  # type: ignore[arg-type]


def test_a_bench_reads_back_as_it_was_built(mini_bench: Bench) -> None:
    assert read_bench(mini_bench.folder) == mini_bench
    assert mini_bench.header.made["seed"] == 1 and [pair.kind for pair in mini_bench.pairs].count("self") == 2
