"""From Python: a portrait and a driver in, frames out, without drawing landmarks by hand; a copy does the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fye_model import FollowYourEmojiPipeline, Transfer
from fye_model.animation.card import CARD
from tasks.faces.driver import STILL_S, read_driver
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.reader import open_faces
from tasks.media.read import read_frames
from tests.fye_model.animation.tiny import describe_tiny
from tests.tasks.performing import FRAMES, QUICK, SIZE


@pytest.fixture
def pipeline(model: Path) -> FollowYourEmojiPipeline:
    loaded = FollowYourEmojiPipeline.from_pretrained(model)
    loaded.set_progress_bar_config(disable=True)
    loaded.description = describe_tiny(size=SIZE, sampling=QUICK)
    return loaded


def test_paths_pictures_frames_and_landmarks_give_the_same_frames(
    pipeline: FollowYourEmojiPipeline, portrait: Path, driver: Path, landmarker_asset: LandmarkerAsset
) -> None:
    with open_faces() as faces:
        frames = pipeline.animate(portrait, driver, faces).frames
        landmarks = read_driver(driver, faces._landmarker, landmarker_asset, 5).landmarks
        others = [
            pipeline.animate(str(portrait), landmarks, faces),
            pipeline.animate(Image.open(portrait), read_frames(driver), faces, fps=25.0),
            pipeline.animate(
                np.asarray(Image.open(portrait)), [Image.fromarray(f) for f in read_frames(driver)], faces
            ),
        ]
        whole = pipeline.animate(portrait, driver, faces, paste_back=True, transfer=Transfer(mouth=2)).frames
    assert len(frames) == FRAMES and frames[0].size == (SIZE, SIZE) and whole[0].size == (512, 512)
    for other in others:
        np.testing.assert_array_equal(np.stack(other.frames), np.stack(frames))


def test_a_still_picture_is_performed_from_python_as_from_the_command_line(
    pipeline: FollowYourEmojiPipeline, perform: Any, portrait: Path, driver: Path, tmp_path: Path
) -> None:
    Image.fromarray(read_frames(driver)[0]).rotate(12).save(tmp_path / "smile.png")
    row, _, _ = perform(portrait, driving=tmp_path / "smile.png", output=tmp_path / "frames", still_s=STILL_S)
    with open_faces() as faces:
        frames = pipeline.animate(portrait, tmp_path / "smile.png", faces).frames
    assert row.frames == len(frames) == STILL_S * 25
    for index in (0, 25):
        with Image.open(tmp_path / "frames" / f"{index:06d}.png") as picture:
            np.testing.assert_array_equal(np.asarray(frames[index]), np.asarray(picture))
    assert np.abs(np.asarray(frames[25]).astype(int) - np.asarray(frames[0])).max() > 8, "it is eased into"


def test_landmarks_of_another_model_than_it_was_trained_on_are_said(
    pipeline: FollowYourEmojiPipeline, portrait: Path, driver: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert pipeline.description is not None
    pipeline.description = pipeline.description.model_copy(update={"landmark_model": "another:1"})
    with open_faces() as faces, caplog.at_level("WARNING"):
        pipeline.animate(portrait, driver, faces)
    assert "trained on landmarks of another:1" in caplog.text


def test_a_copy_is_the_same_model_with_a_card_and_readable_files(
    pipeline: FollowYourEmojiPipeline, portrait: Path, driver: Path, tmp_path: Path
) -> None:
    before = os.umask(0o027)
    try:
        pipeline.save_pretrained(tmp_path / "copy")
    finally:
        os.umask(before)
    copy = FollowYourEmojiPipeline.from_pretrained(tmp_path / "copy")
    copy.set_progress_bar_config(disable=True)
    assert copy.description == pipeline.description
    with open_faces() as faces:
        frames = [one.animate(portrait, driver, faces).frames for one in (pipeline, copy)]
    np.testing.assert_array_equal(np.stack(frames[0]), np.stack(frames[1]))
    card = (tmp_path / "copy" / CARD).read_text()
    assert (
        f"{SIZE} x {SIZE} pixels, 25 frames/s" in card and "1 steps" in card and "poses of the training clips" in card
    )
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "copy").rglob("*") if path.is_file()} == {0o640}


def test_a_pipeline_without_a_description_says_what_is_missing(
    pipeline: FollowYourEmojiPipeline, portrait: Path
) -> None:
    pipeline.description = None
    with open_faces() as faces, pytest.raises(ValueError, match=r"has no fye.json, which says how faces are cut"):
        pipeline.animate(portrait, portrait, faces)
