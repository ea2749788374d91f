"""Faces brought upright into a square by the least squares fit of a few points, as embedding networks want them."""

from __future__ import annotations

import math

import numpy as np


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, scaled rotation (2, 2) and offset (2,) that bring points (n, 2) nearest to others, by least squares."""
    centre, aim = source.mean(axis=0), target.mean(axis=0)
    a, b = source - centre, target - aim
    size = np.square(a).sum()
    along, across = (a * b).sum() / size, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / size
    turn = np.array([[along, -across], [across, along]])
    return math.hypot(along, across), turn, aim - turn @ centre


def aligned(picture: np.ndarray, points: np.ndarray, targets: np.ndarray, side_px: int) -> np.ndarray:
    """The part of a picture (h, w, 3) uint8 in which `points` (n, 2) come to lie on `targets` (n, 2), black outside.

    Points and targets are in pixels, x first, the middle of the first pixel at 0. The result is (side_px,
    side_px, 3) uint8, bilinear.
    """
    from scipy.ndimage import map_coordinates  # slow to import, and a cached run needs none of it

    _, turn, offset = similarity(points, targets)
    y, x = np.mgrid[:side_px, :side_px]
    places = np.einsum("ij,jhw->ihw", np.linalg.inv(turn), np.stack([x, y]) - offset[:, None, None])
    channels = [map_coordinates(picture[..., channel], places[::-1], np.float64, order=1) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
