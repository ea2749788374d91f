"""Pictures turned so that a face in them stands upright, and points carried there and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

_QUARTERS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}


@dataclass(frozen=True)
class Turn:
    """A `width` x `height` picture turned around its middle by `deg`, counter-clockwise as one looks at it.

    The turned picture has a frame that holds all of it. Quarters of a turn move pixels and nothing else.
    """

    width: int
    height: int
    deg: float = 0.0

    @property
    def quarters(self) -> int | None:
        """Quarters of a turn from 0 to 3, None for an angle between them."""
        quarters, rest = divmod(self.deg, 90)
        return int(quarters) % 4 if rest == 0 else None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the turned picture."""
        if self.quarters is not None:
            return (self.height, self.width) if self.quarters % 2 else (self.width, self.height)
        cos, sin = abs(math.cos(math.radians(self.deg))), abs(math.sin(math.radians(self.deg)))
        return math.ceil(self.width * cos + self.height * sin), math.ceil(self.width * sin + self.height * cos)

    def there(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in pixels of the picture -> pixels of the turned one."""
        moved: np.ndarray = (points - self._middle) @ self._matrix.T + np.array(self.size) / 2
        return moved

    def back(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in pixels of the turned picture -> pixels of the picture."""
        moved: np.ndarray = (points - np.array(self.size) / 2) @ self._matrix + self._middle
        return moved

    def picture(self, image: Image.Image) -> Image.Image:
        """The turned picture; the corners that it leaves empty repeat its border. `image` has the turn's size."""
        if self.quarters is not None:
            return image.transpose(_QUARTERS[self.quarters]) if self.quarters else image
        width, height = self.size
        room = math.ceil(max(width - self.width, height - self.height, 0) + max(self.width, self.height) / 2)
        padded = np.pad(np.asarray(image), ((room, room), (room, room), (0, 0)), mode="edge")
        start, across, down = self.back(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        affine = _affine(start + room, across - start, down - start)
        return Image.fromarray(padded).transform(
            (width, height), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC
        )

    @property
    def _middle(self) -> np.ndarray:
        return np.array([self.width, self.height]) / 2

    @property
    def _matrix(self) -> np.ndarray:
        """y grows downwards, so that counter-clockwise is against the sense of mathematics."""
        cos, sin = math.cos(math.radians(self.deg)), math.sin(math.radians(self.deg))
        if self.quarters is not None:
            cos, sin = round(cos), round(sin)
        return np.array([[cos, sin], [-sin, cos]])


def _affine(start: np.ndarray, across: np.ndarray, down: np.ndarray) -> tuple[float, ...]:
    """PIL's six numbers: where an output pixel's place comes from."""
    return float(across[0]), float(down[0]), float(start[0]), float(across[1]), float(down[1]), float(start[1])


def warp_back(frame: Image.Image, turn: Turn, corner: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """A part of the turned picture as it lies in the picture itself, for an angle between quarters.

    frame: any mode, its upper left corner at `corner` of the turned picture; box: left, top, right, bottom pixels of
    the picture -> that part of it, with black where the frame does not reach.
    """
    left, top, right, bottom = box
    start, across, down = turn.there(np.array([[left, top], [left + 1, top], [left, top + 1]], float)) - corner
    affine = _affine(start, across - start, down - start)
    size = right - left, bottom - top
    return frame.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
