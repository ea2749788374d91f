"""Frames cut, turned and resized in YUV are the frames one would get in RGB: no shift, no stretch, no colour change."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from tasks.media.orientation import Orientation
from tasks.media.planes import cut, from_planes, oriented, planes, resize


def random_frame(width: int = 40, height: int = 24, smooth: bool = False) -> av.VideoFrame:
    rng = np.random.default_rng(0)
    frame = av.VideoFrame(width, height, "yuv420p")
    parts = [rng.integers(16, 235, plane.shape, np.uint8) for plane in planes(frame)]
    if smooth:
        parts = [
            (60 + 120 * np.add.outer(np.linspace(0, 1, p.shape[0]) ** 2, np.linspace(0, 0.5, p.shape[1]))).astype("u1")
            for p in parts
        ]
    frame.colorspace, frame.color_range = 1, 1
    return from_planes(parts, frame)


@pytest.mark.parametrize("corner", [(6, 4), (-10, 0), (30, 14), (-60, -50)])
def test_a_cut_is_the_picture_reflected_at_its_border(corner: tuple[int, int]) -> None:
    frame = random_frame()
    left, top = corner
    part = cut(frame, left, top, 20, 16)
    for plane, whole, step in zip(planes(part), planes(frame), (1, 2, 2), strict=True):
        pad = 80 // step
        padded = np.pad(whole, pad, mode="symmetric")
        y, x = pad + top // step, pad + left // step
        assert np.array_equal(plane, padded[y : y + 16 // step, x : x + 20 // step])
    assert (part.colorspace, part.color_range) == (1, 1)


def test_cutting_nothing_off_copies_nothing() -> None:
    frame = random_frame()
    assert cut(frame, 0, 0, 40, 24) is frame


@pytest.mark.parametrize(
    "orientation", [Orientation(mirrored, turns) for mirrored in (False, True) for turns in range(4)]
)
def test_turning_equals_turning_every_plane(orientation: Orientation) -> None:
    frame = random_frame()
    for plane, whole in zip(planes(oriented(frame, orientation)), planes(frame), strict=True):
        assert np.array_equal(plane, orientation.shown(whole))


@pytest.mark.parametrize("size", [(80, 48), (20, 12), (48, 30)])
def test_resizing_moves_nothing(size: tuple[int, int]) -> None:
    """A smooth picture keeps its value at every relative place, so its area stays the area of the original."""
    frame = random_frame(smooth=True)
    resized = resize(frame, *size, VideoReformatter())
    for plane, whole in zip(planes(resized), planes(frame), strict=True):
        y = (np.arange(plane.shape[0]) + 0.5) / plane.shape[0] * whole.shape[0] - 0.5
        x = (np.arange(plane.shape[1]) + 0.5) / plane.shape[1] * whole.shape[1] - 0.5
        rows = np.stack([np.interp(y, np.arange(whole.shape[0]), column) for column in whole.T.astype(float)], 1)
        expected = np.stack([np.interp(x, np.arange(whole.shape[1]), row) for row in rows])
        assert np.abs(plane - expected)[2:-2, 2:-2].max() < 2.5


def test_shrinking_does_not_alias() -> None:
    frame = random_frame(256, 256)
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 200  # finer than the small picture can show: must become flat grey, not moire
    frame = from_planes([stripes, *planes(frame)[1:]], frame)
    small = planes(resize(frame, 98, 98, VideoReformatter()))[0].astype(float)
    assert small[4:-4, 4:-4].std() < 12
    assert small[4:-4, 4:-4].mean() == pytest.approx(100, abs=3)
