"""Pictures beside each other, and sides that video can take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image


def pictures_in_a_row(pictures: Sequence[np.ndarray], height: int) -> np.ndarray:
    """Pictures (h, w, 3) uint8 in a row from left to right, each at `height` in its own aspect ratio."""
    return np.hstack([_at_height(picture, height) for picture in pictures])


def even_sides(picture: np.ndarray) -> np.ndarray:
    """Repeat the last row or column where a side is odd: video needs even ones."""
    return np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")


def _at_height(picture: np.ndarray, height: int) -> np.ndarray:
    if picture.shape[0] == height:
        return picture
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
