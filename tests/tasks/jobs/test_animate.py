"""A portrait performs a driver end to end on pictures and videos of a face, with a tiny model of random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fye_model.config import SamplingConfig, StepCacheConfig
from fye_model.landmarks.table import read_landmarks, write_landmarks
from tasks.faces.detector import FaceLandmarker
from tasks.faces.driver import read_driver
from tasks.faces.follow import load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.subject import read_portrait
from tasks.jobs.animate import AnimateRequest, check_request, sampling_of
from tasks.media.read import probe, read_frames
from tests.fye_model.animation.tiny import describe_tiny
from tests.tasks.performing import FRAMES, MODEL, QUICK, SIZE
from tests.tasks.videos import encode


def test_the_result_has_the_drivers_length_rate_and_sound(perform, portrait: Path, driver: Path) -> None:
    row, frames, _ = perform(portrait)
    assert frames.shape == (FRAMES, SIZE, SIZE, 3)
    info = probe(row.output)
    assert info.fps == pytest.approx(25) and info.has_audio
    assert row.aligned and row.audio and row.frames == FRAMES
    assert row.driver_interpolated == 1 and row.driver_held == 0
    assert json.loads(row.model_dump_json())["sampling"]["window"] == QUICK.window


def test_the_seed_decides_and_rows_repeat(perform, portrait: Path) -> None:
    first, frames, _ = perform(portrait, seed=3)
    again, same, _ = perform(portrait, seed=3)
    _, other, _ = perform(portrait, seed=4)
    assert first == again
    np.testing.assert_array_equal(frames, same)
    assert np.abs(frames.astype(int) - other).mean() > 1


def test_a_saved_landmark_sequence_drives_as_its_video_does(
    perform, portrait: Path, driver: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as landmarker:
        write_landmarks(read_driver(driver, landmarker, landmarker_asset, 5).landmarks, tmp_path / "driver.parquet")
    row, frames, _ = perform(portrait, driving=tmp_path / "driver.parquet")
    assert not row.audio
    np.testing.assert_array_equal(frames, perform(portrait)[1])


def test_side_by_side_shows_portrait_driver_and_result(perform, portrait: Path, driver: Path) -> None:
    _, alone, _ = perform(portrait)
    _, frames, _ = perform(portrait, side_by_side=True)
    assert frames.shape == (FRAMES, SIZE, 3 * SIZE, 3)
    shown = np.asarray(Image.fromarray(read_frames(driver)[0]).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    assert np.abs(frames[0, :, SIZE : 2 * SIZE].astype(int) - shown).mean() < 12
    assert np.abs(frames[0, :, 2 * SIZE :].astype(int) - alone[0]).mean() < 20
    assert np.abs(frames[1:, :, : SIZE - 8].astype(int) - frames[:1, :, : SIZE - 8]).mean() < 2, (
        "the portrait stands still"
    )


def test_pasting_back_keeps_the_picture_outside_the_square(
    perform, portrait: Path, landmarker_asset: LandmarkerAsset
) -> None:
    row, frames, _ = perform(portrait, paste_back=True)
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model, max_faces=4) as landmarker:
        subject = read_portrait(portrait, landmarker, MODEL, load_geometry(landmarker_asset))
    picture = np.asarray(subject.picture)
    height, width = picture.shape[0], picture.shape[1]
    assert (row.height, row.width) == (height + height % 2, width + width % 2)
    outside = np.ones((height, width), bool)
    square = subject.actors[0].cut.square
    outside[
        max(square.top - 8, 0) : square.top + square.side + 8, max(square.left - 8, 0) : square.left + square.side + 8
    ] = 0
    if outside.any():
        assert np.abs(frames[0, :height, :width].astype(int) - picture)[outside].mean() < 6
    assert np.abs(frames[0, :height, :width].astype(int) - picture)[~outside].mean() > 10


def test_a_portrait_without_a_face_works_unaligned_and_says_so(perform, tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    Image.new("RGBA", (90, 60), (200, 120, 40, 128)).save(path)
    row, frames, lines = perform(path)
    assert not row.aligned and row.portrait_faces == 0 and len(frames) == FRAMES
    assert any("no face found" in line and "without alignment" in line for line in lines)


def test_one_of_several_faces_is_chosen(
    perform, portrait: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    small, large = (Image.open(portrait).crop((60, 0, 400, 340)).resize((500, 500)) for _ in range(2))
    small.thumbnail((420, 420))
    large.thumbnail((500, 500))
    both = Image.new("RGB", (small.width + large.width, 500), "white")
    both.paste(small, (0, 0))
    both.paste(large, (small.width, 0))
    both.save(tmp_path / "two.png")
    geometry = load_geometry(landmarker_asset)
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model, max_faces=4) as landmarker:
        left = read_portrait(tmp_path / "two.png", landmarker, MODEL, geometry, "0").actors[0].cut.square
        right = read_portrait(tmp_path / "two.png", landmarker, MODEL, geometry, "1").actors[0].cut.square
        largest = read_portrait(tmp_path / "two.png", landmarker, MODEL, geometry).actors[0].cut.square
        with pytest.raises(ValueError, match="face 2 was asked for, but 2 faces were found"):
            read_portrait(tmp_path / "two.png", landmarker, MODEL, geometry, "2")
    assert left.left + left.side / 2 < small.width < right.left + right.side / 2
    assert largest == right
    row, _, lines = perform(tmp_path / "two.png", face="0")
    assert row.portrait_faces == 2 and any("2 faces found" in line for line in lines)


def test_a_small_face_beside_a_large_one_is_found(
    shared: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    large, small = (Image.open(shared / "data" / "portraits" / name).convert("RGB") for name in ("s7.jpg", "s0.jpg"))
    both = Image.new("RGB", (950, 512), "white")
    both.paste(large.resize((512, 512)), (0, 0))
    both.paste(small.resize((436, 512)), (512, 0))
    both.save(tmp_path / "two.png")
    geometry = load_geometry(landmarker_asset)
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model, max_faces=4) as landmarker:
        assert len(landmarker.detect(np.asarray(both))) == 1, "the whole picture shows the large face alone"
        right = read_portrait(tmp_path / "two.png", landmarker, MODEL, geometry, "1")
        largest = read_portrait(tmp_path / "two.png", landmarker, MODEL, geometry)
    assert right.faces == largest.faces == 2
    assert (
        right.actors[0].cut.square.left
        > 512
        > largest.actors[0].cut.square.left + largest.actors[0].cut.square.side / 2
    )
    assert largest.actors[0].cut.square.side <= 512, "no larger than the picture is high, as in training"


def test_the_step_cache_says_what_it_changes(perform, portrait: Path) -> None:
    changes = {"steps": 8, "window": 3, "step_cache": StepCacheConfig(computed_steps=3)}
    row, _, lines = perform(portrait, sampling=QUICK.model_copy(update=changes))
    assert row.step_cache_l1 is not None and 0 < row.step_cache_l1 < 0.5
    assert any("3 of 8 steps computed" in line and f"{row.step_cache_l1:.5f}" in line for line in lines)
    assert perform(portrait)[0].step_cache_l1 is None


def test_what_skipping_changes_is_not_measured_where_that_takes_longer_than_it_saves(perform, portrait: Path) -> None:
    cache = StepCacheConfig(computed_steps=2)
    row, _, lines = perform(portrait, sampling=QUICK.model_copy(update={"steps": 4, "step_cache": cache}))
    assert row.step_cache_l1 is None
    assert any("2 of 4 steps computed" in line and "not measured" in line for line in lines)


def test_fast_computes_a_quarter_of_the_steps_unless_they_are_given(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model")
    describe_tiny(sampling=SamplingConfig(steps=30)).write(tmp_path / "model")
    assert sampling_of(tmp_path / "model", {}, fast=True).step_cache.computed_steps == 8
    assert sampling_of(tmp_path / "model", {"steps": 10}, fast=True).step_cache.computed_steps == 6
    assert not sampling_of(tmp_path / "model", {"steps": 6}, fast=True).step_cache.skips, "nothing to skip"
    given = sampling_of(tmp_path / "model", {"step_cache": {"computed_steps": 12}}, fast=True)
    assert given.step_cache.computed_steps == 12
    with pytest.raises(ValueError, match="needs progressive"):
        sampling_of(tmp_path / "model", {"strategy": "overlap"}, fast=True)


def test_sampling_settings_go_on_top_of_the_models_own(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model")
    own = SamplingConfig(steps=7, step_cache=StepCacheConfig(depth=0))
    describe_tiny(sampling=own).write(tmp_path / "model")
    sampling = sampling_of(tmp_path / "model", {"step_cache": {"interval": 3}})
    assert (sampling.steps, sampling.step_cache.interval, sampling.step_cache.depth) == (7, 3, 0)
    for wrong, message in (
        ({"stepz": 3}, "stepz: unknown key .did you mean 'steps'"),
        ({"step_cache": 2}, "step_cache: expected settings below it"),
        ({"window": 2}, "window must be at least 3 with strategy progressive, got 2"),
        ({"strategy": "overlap", "overlap": 16}, "overlap .16. must be below window .16."),
        ({"strategy": "overlap", "step_cache": {"interval": 2}}, "step_cache.interval must be 1"),
    ):
        with pytest.raises(ValueError, match=message):
            sampling_of(tmp_path / "model", wrong)


def test_what_cannot_be_written_or_loaded_is_refused_before_anything_slow(
    model: Path, portrait: Path, driver: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    still = tmp_path / "picture.mp4"
    shutil.copy(portrait, still)
    link = tmp_path / "link.mp4"
    link.symlink_to(driver)
    names = ("portrait", "driving", "model", "output")

    def check(*paths: Path) -> None:
        check_request(AnimateRequest(**dict(zip(names, paths, strict=True))))

    check(portrait, driver, model, tmp_path / "new" / "deep" / "x.mp4")
    assert not list((tmp_path / "new" / "deep").iterdir()), "the output's folder is made, and nothing left in it"
    for request, message in (
        ((portrait, driver, model, tmp_path / "folder.mp4"), "is a folder; give another name"),
        ((portrait, driver, model, tmp_path / "x.avi"), "does not end in .mp4, .webm"),
        ((portrait, driver, model, tmp_path / "file" / "x.mp4"), "its folder cannot be written"),
        ((portrait, driver, tmp_path / "absent", tmp_path / "x.mp4"), "there is no such folder"),
        ((portrait, tmp_path / "d.parquet", model, tmp_path / "x.mp4"), "d.parquet: no such file"),
        ((portrait, tmp_path / "d.mp4", model, tmp_path / "x.mp4"), "d.mp4: no such file"),
        ((tmp_path / "p.png", driver, model, tmp_path / "x.mp4"), "p.png: no such file"),
        ((portrait, driver, model, driver), "is the driver itself"),
        ((portrait, driver, model, link), "is the driver itself"),
        ((still, driver, model, still), "is the portrait itself"),
        ((driver, driver, model, tmp_path / "x.mp4"), "not a readable picture"),
    ):
        with pytest.raises(ValueError, match=message):
            check(*request)


def test_a_driver_given_for_the_portrait_is_said_to_be_one(
    portrait: Path, driver: Path, model: Path, tmp_path: Path
) -> None:
    swapped = AnimateRequest(portrait=driver, driving=portrait, model=model, output=tmp_path / "out.mp4")
    with pytest.raises(
        ValueError, match=r"driver\.mp4 is no picture, and .*astronaut\.png is one: give the portrait first"
    ):
        check_request(swapped)


def test_a_model_that_does_not_say_how_it_was_trained_is_refused_or_warned_about(
    perform, portrait: Path, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "model")
    old = {"checkpoint": "c", "fps": 25.0, "landmark_model": "m", "landmark_variant": "plain_2d", "size": SIZE}
    values = {"schema": 1, **old, "sampling": SamplingConfig().model_dump(mode="json")}
    (tmp_path / "model" / "fye.json").write_text(json.dumps(values))
    row, _, lines = perform(portrait, model=tmp_path / "model")
    assert any(line.startswith("note: the model was trained on landmarks of m, and these are of") for line in lines)
    assert row.assumed == ("crop.margin", "crop.faces", "max_gap_frames")
    assert any(line.startswith("WARNING") and "without crop.margin" in line for line in lines)
    assert perform(portrait)[0].assumed == ()
    (tmp_path / "model" / "fye.json").unlink()
    with pytest.raises(ValueError, match=r"has no fye.json: .*size, fps, crop"):
        perform(portrait, model=tmp_path / "model")


def test_a_long_hole_in_the_driver_holds_the_last_face_and_is_counted(perform, portrait: Path, driver: Path) -> None:
    frames = read_frames(driver)
    gone = np.full_like(frames[:1], 127)
    path = driver.with_name("hole.mp4")
    encode(path, [*frames[:3], *np.repeat(gone, 7, axis=0), *frames[5:8]])
    row, result, lines = perform(portrait, driving=path)
    assert row.driver_held == 7 and len(result) == 13
    assert any("7 of 13 frames" in line for line in lines)


def test_what_cannot_be_animated_is_refused_and_nothing_is_written(
    perform, portrait: Path, driver: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    encode(tmp_path / "wall.mp4", np.full((3, 64, 64, 3), 90, np.uint8))
    (tmp_path / "text.png").write_text("not a picture")
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as landmarker:
        sequence = read_driver(driver, landmarker, landmarker_asset, 5).landmarks
    write_landmarks(sequence.select(slice(0, 0)), tmp_path / "none.parquet")
    write_landmarks(type(sequence)(**{**vars(sequence), "model": "other:1"}), tmp_path / "other.parquet")
    for changes, message in (
        ({"driving": tmp_path / "empty.mp4"}, "the file is empty"),
        ({"driving": tmp_path / "missing.mp4"}, "missing.mp4"),
        ({"driving": tmp_path / "wall.mp4"}, "none of 3 frames"),
        ({"driving": tmp_path / "none.parquet"}, "driver is empty"),
        ({"driving": tmp_path / "other.parquet"}, "two models never mix"),
        ({"face": "9"}, "1 face was found"),
        ({"sampling": QUICK.model_copy(update={"window": 33})}, "at most 32"),
    ):
        with pytest.raises(ValueError, match=message):
            perform(portrait, **changes)
    with pytest.raises(ValueError, match="not a readable picture"):
        perform(tmp_path / "text.png")
    assert not list((tmp_path / "out").glob("*"))


def test_a_failure_in_the_middle_leaves_no_file(perform, portrait: Path, tmp_path: Path) -> None:
    def stop(line: str) -> None:
        if "frames" in line and "of" in line and "hold" not in line:
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="pulled the plug"):
        perform(portrait, log=stop)
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert left == [".result.mp4.windows"], "what is finished is kept for the next run, and nothing else"


def test_stored_landmarks_of_the_driver_read_back(
    driver: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as landmarker:
        sequence = read_driver(driver, landmarker, landmarker_asset, 5).landmarks
    write_landmarks(sequence, tmp_path / "d.parquet")
    assert len(read_landmarks(tmp_path / "d.parquet")) == FRAMES and sequence.interpolated[4]
