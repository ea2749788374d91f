"""Boxes around faces, and the one rule by which a square is laid around a face: for clips, portraits and drivers.

A box says in its type what its numbers are: pixels of a picture, or fractions of its width and height. x grows to the
right, y downwards; a box holds what lies between its sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

_DOUBLE = 0.3  # overlap from which two boxes are of one face
_FACE_ROOM = 1.1  # a square never holds less than the face's box and 5% on each side


class PixelBox(NamedTuple):
    """Sides in pixels of a picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def longer(self) -> float:
        """The longer side."""
        return max(self.right - self.left, self.bottom - self.top)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def in_fractions(self, width: int, height: int) -> FractionBox:
        """The same box in fractions of a width x height picture."""
        return FractionBox(self.left / width, self.top / height, self.right / width, self.bottom / height)


class FractionBox(NamedTuple):
    """Sides as fractions of a picture's width and height."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def in_pixels(self, width: int, height: int) -> PixelBox:
        """The same box in pixels of a width x height picture."""
        return PixelBox(self.left * width, self.top * height, self.right * width, self.bottom * height)


AnyBox = TypeVar("AnyBox", PixelBox, FractionBox)


def overlap(a: AnyBox, b: AnyBox) -> float:
    """Intersection over union of two boxes of one unit."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / (a.area + b.area - common)


def distinct(boxes: Sequence[AnyBox]) -> list[int]:
    """Places of the boxes that are of different faces: largest first, without those that overlap one already taken."""
    kept: list[int] = []
    for place in sorted(range(len(boxes)), key=lambda place: boxes[place].area, reverse=True):
        if all(overlap(boxes[place], boxes[other]) < _DOUBLE for other in kept):
            kept.append(place)
    return kept


def union(boxes: Iterable[PixelBox]) -> PixelBox:
    """The smallest box that holds all of them; at least one is needed."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return PixelBox(min(left), min(top), max(right), max(bottom))


def pixel_boxes(points_px: np.ndarray) -> list[PixelBox]:
    """Boxes around the points of each frame: (f, n, 2) pixels, finite -> f boxes."""
    corners = np.concatenate([points_px.min(axis=1), points_px.max(axis=1)], axis=1)
    return [PixelBox(*map(float, corner)) for corner in corners]


def fraction_box(points: np.ndarray) -> FractionBox:
    """Box around points (n, 2 or 3) whose x and y are fractions of a picture."""
    left, top = points[:, :2].min(axis=0)
    right, bottom = points[:, :2].max(axis=0)
    return FractionBox(float(left), float(top), float(right), float(bottom))


@dataclass(frozen=True)
class Square:
    """A square of `side` source pixels with its upper left corner at (`left`, `top`); may reach outside the picture."""

    left: int
    top: int
    side: int

    def to_square(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points (..., 2) in source pixels -> pixels of the square at `size` x `size`."""
        return (points - (self.left, self.top)) * (size / self.side)


def face_square(box: PixelBox, width: int, height: int, margin: float, face: PixelBox | None = None) -> Square:
    """The square around a face in a width x height picture: what is cut, and what drawn landmarks refer to.

    Models name this rule `face-square-1`; another rule needs another name (`Crop` in `animation/description.py`).

    box: around the face in all frames that the square is for, or where that is guessed from one frame, `face` is the
    box that was seen. The side is the box's longer one plus `margin` of it on each side, but no more than the picture's
    shorter side unless the face needs it (then the face and 5% on each side): what lies outside the picture has to be
    made up. Corners and side are even, as video's colour planes want them; in
    a picture of even size the square is moved inside as far as it fits. Raises ValueError for an empty box.
    """
    if not (box.right > box.left and box.bottom > box.top):
        raise ValueError(f"face box {tuple(box)} is empty: expected left < right and top < bottom, in pixels")
    shorter = min(width, height) // 2 * 2
    wanted = min(box.longer * (1 + 2 * margin), max(shorter, _FACE_ROOM * (face or box).longer))
    side = max(-(-int(np.ceil(wanted - 1e-6)) // 2) * 2, 2)
    x, y = box.centre
    return Square(_corner(x, side, width), _corner(y, side, height), side)


def _corner(centre: float, side: int, length: int) -> int:
    """Even start of [start, start + side) around `centre`, moved into [0, length) as far as it fits."""
    start = round((centre - side / 2) / 2) * 2
    return min(max(start, min(0, length - side)), max(0, length - side))
