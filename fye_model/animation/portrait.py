"""The portrait's geometry: upright RGB, a square around the face, and putting an animated square back. No networks.

A square lies in whole source pixels and may reach beyond the picture; it is never stretched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

Box = tuple[float, float, float, float]  # left, top, right, bottom

BACKGROUND = (255, 255, 255)  # behind transparent parts
FACE_MARGIN = 0.5  # each side, as a fraction of the face box's longer side; `ClipConfig.margin` in training


def upright_rgb(image: Image.Image, max_side: int | None = None) -> Image.Image:
    """Turn a picture as its EXIF tag says, put transparent parts on white, and shrink it to at most `max_side`.

    Any PIL mode (palette, grey, 16 bit, CMYK) -> RGB.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 and 32 bit greys: PIL would clip them at 255
        grey = np.asarray(image, np.float64)
        eight_bits = image.mode == "I" and grey.max() <= 255
        image = Image.fromarray((grey if eight_bits else grey / 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        picture = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", picture.size, (*BACKGROUND, 255)), picture)
    image = image.convert("RGB")
    if max_side is not None and max(image.size) > max_side:
        scale = max_side / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image


@dataclass(frozen=True)
class Square:
    """A square of `side` source pixels with its upper left corner at (`left`, `top`); may reach outside the picture."""

    left: int
    top: int
    side: int

    def cut(self, image: Image.Image, size: int) -> Image.Image:
        """The square's content at `size` x `size`; what lies outside the picture repeats its border."""
        pixels = np.asarray(image)
        rows = np.clip(np.arange(self.top, self.top + self.side), 0, image.height - 1)
        columns = np.clip(np.arange(self.left, self.left + self.side), 0, image.width - 1)
        return Image.fromarray(pixels[rows][:, columns]).resize((size, size), Image.Resampling.LANCZOS)

    def to_square(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points (..., 2) in source pixels -> pixels of the `size` x `size` cut."""
        return (points - (self.left, self.top)) * (size / self.side)

    def feather(self, width: int, height: int, fraction: float = 0.08) -> np.ndarray:
        """Weight (side, side) of a pasted square: 0 at the border, 1 from `fraction` of the side inwards.

        A side that lies on the picture's border or beyond has no seam to hide and keeps the weight 1.
        """
        ramp = max(1, round(self.side * fraction))
        towards = (np.arange(self.side) + 0.5) / ramp

        def along(start: int, length: int) -> np.ndarray:
            rise = np.ones(self.side) if start <= 0 else np.minimum(towards, 1)
            fall = np.ones(self.side) if start + self.side >= length else np.minimum(towards[::-1], 1)
            return np.minimum(rise, fall)

        smooth = np.outer(along(self.top, height), along(self.left, width))
        return (smooth * smooth * (3 - 2 * smooth)).astype(np.float32)

    def paste(self, picture: np.ndarray, frames: np.ndarray, fraction: float = 0.08) -> np.ndarray:
        """Put animated squares back into the portrait.

        picture: (height, width, 3) uint8; frames: (f, size, size, 3) uint8 -> (f, height, width, 3) uint8.
        """
        height, width = picture.shape[:2]
        weight = self.feather(width, height, fraction)[..., None]
        x0, y0 = max(self.left, 0), max(self.top, 0)
        x1, y1 = min(self.left + self.side, width), min(self.top + self.side, height)
        inner = slice(y0 - self.top, y1 - self.top), slice(x0 - self.left, x1 - self.left)
        result = np.repeat(picture[None], len(frames), axis=0)
        below = picture[y0:y1, x0:x1].astype(np.float32)
        for target, frame in zip(result, frames, strict=True):
            square = Image.fromarray(frame).resize((self.side, self.side), Image.Resampling.LANCZOS)
            above = np.asarray(square)[inner].astype(np.float32)
            target[y0:y1, x0:x1] = np.rint(below + weight[inner] * (above - below)).astype(np.uint8)
        return result


def square_around(box: Box, width: int, height: int, margin: float = FACE_MARGIN) -> Square:
    """Square around a face box (left, top, right, bottom; pixels), moved inside the picture as far as it fits.

    `margin`: added on each side, as a fraction of the box's longer side. As in training, the square is no larger than
    the picture's shorter side unless the face needs it (then the box and 5% on each side), because what lies
    outside has to be made up.
    """
    left, top, right, bottom = box
    if not (right > left and bottom > top):
        raise ValueError(f"face box {box} is empty: expected left < right and top < bottom, in pixels")
    longer = max(right - left, bottom - top)
    side = max(round(min(longer * (1 + 2 * margin), max(min(width, height), 1.1 * longer))), 1)
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    return Square(_inside(x, side, width), _inside(y, side, height), side)


def whole_square(width: int, height: int) -> Square:
    """The smallest square that holds the whole picture, centred: for portraits without a detectable face."""
    side = max(width, height)
    return Square((width - side) // 2, (height - side) // 2, side)


def _inside(start: int, side: int, length: int) -> int:
    """Move [start, start + side) into [0, length) where it fits; else keep all of [0, length) inside it."""
    return min(max(start, 0), length - side) if side <= length else max(min(start, 0), length - side)


def box_of(points: np.ndarray) -> Box:
    """Left, top, right, bottom of points (n, 2)."""
    left, top = points.min(axis=0)
    right, bottom = points.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def choose_face(boxes: list[Box], face: str | int) -> int:
    """Index of the face to animate: `largest`, or a number counted from the left edge of the picture.

    Errors: `ValueError` when there is no face of that number, or the word is not known.
    """
    if face == "largest":
        areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
        return int(np.argmax(areas))
    try:
        number = int(face)
    except ValueError:
        raise ValueError(f"face is {face!r}: expected 'largest' or a number, 0 for the leftmost face") from None
    if not 0 <= number < len(boxes):
        numbers = "0" if len(boxes) == 1 else f"0 (the leftmost) to {len(boxes) - 1}"
        raise ValueError(f"face {number} was asked for, but {_faces(len(boxes))} found; give {numbers}, or 'largest'")
    return sorted(range(len(boxes)), key=lambda index: boxes[index][0] + boxes[index][2])[number]


def _faces(count: int) -> str:
    return "1 face was" if count == 1 else f"{count} faces were"
