"""Other crops of a clip: pictures and landmarks move together, the face stays inside, and the draw is fixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fye_model.config import JitterConfig
from fye_model.landmarks import topology
from fye_model.landmarks.table import LandmarkSequence, read_landmarks
from fye_model.training.jitter import CropDraw, crop_frames, crop_sequence, draw_crops
from tests.fye_model.training.conftest import write_clip

MARKED = 4  # the tip of the nose: its own mirror image


@pytest.fixture
def sequence(tmp_path: Path) -> LandmarkSequence:
    write_clip(tmp_path / "clip", 8, seed=0, invalid=(3,))
    return read_landmarks(tmp_path / "clip" / "landmarks.parquet")


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_mark_in_the_picture_stays_under_its_landmark(sequence: LandmarkSequence, mirrored: bool) -> None:
    size = 96
    frames = np.zeros((len(sequence), size, size, 3), np.uint8)
    for frame, (x, y) in zip(frames, sequence.points[:, MARKED, :2] * size, strict=True):
        if np.isfinite(x):  # where it is the middle of 5 x 5 pixels
            frame[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = 255
    crop = CropDraw(left=0.13, top=0.07, side=0.8, mirrored=mirrored)
    pictures, moved = crop_frames(frames, crop), crop_sequence(sequence, crop)
    assert pictures.shape == frames.shape
    for picture, (x, y), valid in zip(pictures, moved.points[:, MARKED, :2] * size, sequence.valid, strict=True):
        if valid:
            rows, columns = np.nonzero(picture[..., 0] > 100)
            np.testing.assert_allclose((columns.mean() + 0.5, rows.mean() + 0.5), (x, y), atol=1.0)


def test_crops_keep_what_is_drawn_and_are_mirrored_in_turn(sequence: LandmarkSequence) -> None:
    crops = draw_crops(sequence, JitterConfig(crops=6, zoom=0.4))
    assert [crop.mirrored for crop in crops] == [True, False] * 3
    assert len({(crop.left, crop.top, crop.side) for crop in crops}) == 6
    for crop in crops:
        assert 0.6 <= crop.side <= 1 and crop.left + crop.side <= 1 and crop.top + crop.side <= 1
        drawn = crop_sequence(sequence, crop).points[sequence.valid][:, list(topology.EXPRESSION_POINTS), :2]
        assert ((drawn >= 0) & (drawn <= 1)).mean() > 0.95


def test_the_same_landmarks_give_the_same_crops(sequence: LandmarkSequence) -> None:
    config = JitterConfig(crops=3)
    assert draw_crops(sequence, config) == draw_crops(sequence, config)
    assert draw_crops(sequence, config) != draw_crops(sequence, config.model_copy(update={"seed": 1}))
    other = replace(sequence, points=sequence.points + np.float32(0.01))
    assert draw_crops(sequence, config) != draw_crops(other, config)
    assert draw_crops(sequence, JitterConfig()) == []
