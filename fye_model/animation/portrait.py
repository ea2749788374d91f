"""The portrait's picture: upright RGB, its square cut out, and an animated square put back. No networks.

Where the square lies is `Crop.portrait_square`'s to say (`description.py`). It lies in whole source pixels and may
reach beyond the picture; it is never stretched. Around a face that does not stand upright it is turned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps

from fye_model.animation.turn import Turn, warp_back
from fye_model.easing import smoothstep
from fye_model.landmarks.boxes import Square

BACKGROUND = (255, 255, 255)  # behind transparent parts
_BLENDED = 0.08  # of a pasted square's side


def upright_rgb(image: Image.Image, max_side: int | None = None) -> Image.Image:
    """Turn a picture as its EXIF tag says, put transparent parts on white, and shrink it to at most `max_side`.

    Any PIL mode (palette, grey, 16 bit, CMYK) -> RGB.
    """
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # a large picture is not copied for nothing
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 and 32 bit greys: PIL would clip them at 255
        grey = np.asarray(image, np.float64)
        eight_bits = image.mode == "I" and grey.max() <= 255
        image = Image.fromarray((grey if eight_bits else grey / 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        picture = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", picture.size, (*BACKGROUND, 255)), picture)
    if image.mode == "RGB":
        image.load()  # its file may be closed after this
    else:
        image = image.convert("RGB")
    if max_side is not None and max(image.size) > max_side:
        scale = max_side / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image


@dataclass(frozen=True)
class Cut:
    """The part of a picture that is animated: a square in whole pixels of the picture as `turn` lays it."""

    turn: Turn
    square: Square

    def points(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points (..., 2) in pixels of the picture -> pixels of the square at `size` x `size`."""
        return self.square.to_square(self.turn.there(points), size)

    def picture(self, image: Image.Image, size: int) -> Image.Image:
        """The square's content at `size` x `size`, upright."""
        return cut_square(self.turn.picture(image), self.square, size)

    @property
    def seams(self) -> tuple[bool, bool, bool, bool]:
        """Whether the picture goes on beyond the square's left, top, right and bottom side."""
        left, top, side = self.square.left, self.square.top, self.square.side
        width, height = self.turn.size
        return left > 0, top > 0, left + side < width, top + side < height

    def paste(self, picture: np.ndarray, frame: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Put an animated square back, turned as it lay and blended at its border.

        picture: (height, width, 3) uint8; frame: (size, size, 3) uint8; mask: (side, side) from 0 to 1, how much of the
        frame there is at each place of the square, in place of the blended border -> (height, width, 3) uint8.
        """
        turn, square = self.turn, self.square
        if turn.quarters is not None:
            laid = np.ascontiguousarray(np.rot90(picture, turn.quarters))
            return np.rot90(paste_square(laid, square, frame[None], mask=mask)[0], -turn.quarters)
        left, top = square.left, square.top
        far = square.side * 4  # the border of the turned picture is none of the picture's own
        weight = _feather(square, far + left, far + top, _BLENDED) if mask is None else mask
        corners = np.array([[left, top], [left + square.side, top + square.side]], float)
        every = turn.back(np.array([[x, y] for x in corners[:, 0] for y in corners[:, 1]]))
        limit = np.array([turn.width, turn.height])
        low = np.clip(np.floor(every.min(axis=0)), 0, limit).astype(int)
        high = np.clip(np.ceil(every.max(axis=0)), 0, limit).astype(int)
        box = int(low[0]), int(low[1]), int(high[0]), int(high[1])
        pasted = Image.fromarray(frame).resize((square.side, square.side), Image.Resampling.LANCZOS)
        above = np.asarray(warp_back(pasted, turn, (left, top), box), np.float32)
        part = np.asarray(warp_back(Image.fromarray(weight.astype(np.float32)), turn, (left, top), box))
        result = picture.copy()
        target = result[box[1] : box[3], box[0] : box[2]]
        target[:] = np.rint(target + part.clip(0, 1)[..., None] * (above - target)).astype(np.uint8)
        return result


def cut_square(image: Image.Image, square: Square, size: int) -> Image.Image:
    """The square's content at `size` x `size`; what lies outside the picture repeats its border."""
    pixels = np.asarray(image)
    rows = np.clip(np.arange(square.top, square.top + square.side), 0, image.height - 1)
    columns = np.clip(np.arange(square.left, square.left + square.side), 0, image.width - 1)
    return Image.fromarray(pixels[rows][:, columns]).resize((size, size), Image.Resampling.LANCZOS)


def paste_square(
    picture: np.ndarray,
    square: Square,
    frames: np.ndarray,
    fraction: float = _BLENDED,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """Put animated squares back into the portrait, blended over `fraction` of the side, or as `mask` says.

    picture: (height, width, 3) uint8; frames: (f, size, size, 3) uint8; mask: (side, side) from 0 to 1
    -> (f, height, width, 3) uint8.
    """
    height, width = picture.shape[:2]
    left, top, side = square.left, square.top, square.side
    weight = (_feather(square, width, height, fraction) if mask is None else mask)[..., None]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    inner = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    result = np.repeat(picture[None], len(frames), axis=0)
    below = picture[y0:y1, x0:x1].astype(np.float32)
    for target, frame in zip(result, frames, strict=True):
        pasted = Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS)
        above = np.asarray(pasted)[inner].astype(np.float32)
        target[y0:y1, x0:x1] = np.rint(below + weight[inner] * (above - below)).astype(np.uint8)
    return result


def _feather(square: Square, width: int, height: int, fraction: float) -> np.ndarray:
    """Weight (side, side) of a pasted square: 0 at the border, 1 from `fraction` of the side inwards.

    A side that lies on the picture's border or beyond has no seam to hide and keeps the weight 1.
    """
    ramp = max(1, round(square.side * fraction))
    towards = (np.arange(square.side) + 0.5) / ramp

    def along(start: int, length: int) -> np.ndarray:
        rise = np.ones(square.side) if start <= 0 else np.minimum(towards, 1)
        fall = np.ones(square.side) if start + square.side >= length else np.minimum(towards[::-1], 1)
        return np.minimum(rise, fall)

    weight = np.outer(along(square.top, height), along(square.left, width))
    return smoothstep(weight).astype(np.float32)


def whole_square(width: int, height: int) -> Square:
    """The smallest square that holds the whole picture, centred: for portraits without a detectable face."""
    side = max(width, height)
    return Square((width - side) // 2, (height - side) // 2, side)
