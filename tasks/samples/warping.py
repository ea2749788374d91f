"""Pictures read at places between their pixels, and holes in them filled."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def fill_hole(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The picture (h, w, c) with `hole` (h, w) filled in from around it.

    The fill is harmonic (every pixel the mean of its neighbours), solved from coarse to fine. Far from all that is
    known it tends to what stands in the hole: 0 is black.
    """
    if not hole.any() or min(hole.shape) <= 8:
        return picture
    known = (~hole).astype(np.float32)
    pad = [(0, size % 2) for size in hole.shape]
    weight = _halved(np.pad(known, pad))
    small = _halved(np.pad(picture * known[..., None], [*pad, (0, 0)])) / np.maximum(weight, 1e-6)[..., None]
    guess = fill_hole(small, weight == 0).repeat(2, axis=0).repeat(2, axis=1)[: hole.shape[0], : hole.shape[1]]
    picture = np.where(hole[..., None], guess, picture)
    for _ in range(24):
        around = ndimage.uniform_filter(picture, (3, 3, 0), mode="nearest")
        picture = np.where(hole[..., None], around, picture)
    return picture


def _halved(a: np.ndarray) -> np.ndarray:
    return (a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2]) / 4


def resampled(picture: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Linear reading along one axis, pixel centres at halves."""
    place = np.clip(positions - 0.5, 0, picture.shape[axis] - 1.001)
    start = place.astype(np.int32)
    weight = (place - start).astype(np.float32)[(slice(None), None, None) if axis == 0 else (slice(None), None)]
    return picture.take(start, axis) * (1 - weight) + picture.take(start + 1, axis) * weight


def sample(picture: np.ndarray, x: np.ndarray, y: np.ndarray, scale: int) -> np.ndarray:
    """Bilinear reading of (h, w, c) at photograph positions, pixel centres at halves: x, y (n, m) -> (n, m, c)."""
    height, width, channels = picture.shape
    column = np.clip(x * scale - 0.5, 0, width - 1.001)
    row = np.clip(y * scale - 0.5, 0, height - 1.001)
    left, top = column.astype(np.int32), row.astype(np.int32)
    across, down = (column - left)[..., None], (row - top)[..., None]
    flat = picture.reshape(-1, channels)
    start = top * width + left
    upper, right = flat.take(start, 0), flat.take(start + 1, 0)
    upper += across * (right - upper)
    lower, right = flat.take(start + width, 0), flat.take(start + width + 1, 0)
    lower += across * (right - lower)
    return upper + down * (lower - upper)
