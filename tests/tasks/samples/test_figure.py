"""A portrait laid over the astronaut's: landmarks stay on their pixels, and beyond its borders the picture runs on."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tasks.samples.figure import OVERSAMPLING, astronaut, figure_of


@pytest.mark.parametrize(("deg", "scale"), [(25.0, 7.0), (90.0, 0.4)])
def test_landmarks_stay_on_their_pixels_however_the_face_lies(deg: float, scale: float) -> None:
    wanted = astronaut().points
    cos, sin = np.cos(np.radians(deg)), np.sin(np.radians(deg))
    points = wanted * scale
    points[:, :2] = points[:, :2] @ np.array([[cos, -sin], [sin, cos]])
    points[:, :2] += 30 - points[:, :2].min(axis=0)
    width, height = (np.ceil(points[:, :2].max(axis=0)) + 30).astype(int)
    y, x = np.mgrid[0:height, 0:width]
    colours = np.stack([x * 255 / width, y * 255 / height, 0 * x], axis=-1).round().astype(np.uint8)
    figure = figure_of(Image.fromarray(colours), points)
    column, row = (figure.points[:, :2] * OVERSAMPLING).astype(int).T
    found = figure.head[row, column, :2] / 255 * [width, height]
    assert np.abs(found - points[:, :2]).max() < max(width, height) / 64 + 1
    apart = figure.points - wanted
    assert np.abs(apart - apart.mean(axis=0)).max() < 0.1


def test_beyond_its_borders_a_picture_runs_on() -> None:
    colour = (90, 130, 170)
    figure = figure_of(Image.new("RGB", (120, 120), colour), astronaut().points - [166, 66, 0])
    assert np.abs(figure.head[..., :3] - colour).max() <= 2
