"""A bench of real pictures and videos: animals are kept, and the tags say what a person sees."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.bench.manifest import Bench
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.build_bench import BuildSettings, build_bench
from tasks.media.read import read_frames, write_video

SPANS = {"d6": (76, 126), "d18": (0, 45)}  # crossed eyes; a frown, then a pout


@pytest.fixture(scope="module")
def bench(
    shared: Path, landmarker_task: Path, landmarker_asset: LandmarkerAsset, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    root = tmp_path_factory.mktemp("real")
    for name, place in (("s9", "real/leonardo"), ("s25", "animal/zoo"), ("s41", "animal/zoo")):
        (root / "portraits" / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(shared / "data" / "portraits" / f"{name}.jpg", root / "portraits" / place)
    for name, (start, stop) in SPANS.items():
        frames = read_frames(shared / "data" / "driving" / f"{name}.mp4", slice(start, stop))
        write_video(root / "driving" / f"{name}.mp4", frames, 30.0)
    settings = BuildSettings(pairs=4, size=256)
    return build_bench(root / "portraits", root / "driving", root / "bench", settings, landmarker_asset)


def test_an_animal_without_a_face_for_the_model_is_kept_and_said_to_be_so(bench: Bench) -> None:
    found = {row.id: (row.style, row.detectable) for row in bench.portraits if not row.frame_of}
    assert found == {"s9": ("real", True), "s25": ("animal", True), "s41": ("animal", False)}


def test_tags_name_what_a_person_sees_and_not_what_is_not_there(bench: Bench) -> None:
    tags = {row.id: set(row.tags) for row in bench.driving}
    assert "crossed_eyes" in tags["d6"] and not tags["d6"] & {"frown", "smile", "wink"}
    assert {"frown", "pout"} <= tags["d18"] and not tags["d18"] & {"crossed_eyes", "gaze", "wink", "large_yaw"}


def test_the_face_stays_in_the_square(bench: Bench) -> None:
    assert all(row.detected == 1 and row.size == 256 for row in bench.driving)
    assert {row.id: row.frames for row in bench.driving} == {name: b - a for name, (a, b) in SPANS.items()}
