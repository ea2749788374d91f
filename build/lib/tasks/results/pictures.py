"""Pictures that people look at: a labelled strip of frames, and the side-by-side frames of a video."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fye_model.evaluation.reenact import Reenactment
from fye_model.files import write_atomic

COLUMNS = ("reference", "landmarks", "truth", "result")
CROSS_COLUMNS = ("reference", "landmarks", "driver", "result")
_HEADER_PX = 22
_GAP_PX = 4


def side_by_side(pair: Reenactment) -> Iterator[np.ndarray]:
    """Frames (h, 4 w, 3) uint8: reference, landmarks, truth, result; sides cut to even numbers for the encoder."""
    for landmarks, truth, result in zip(pair.landmarks, pair.truth, pair.result, strict=True):
        frame = np.concatenate([pair.reference, landmarks, truth, result], axis=1)
        yield frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]


def strip(pair: Reenactment, frames: Sequence[int], columns: Sequence[str] = COLUMNS) -> Image.Image:
    """One row a frame, one labelled column each for reference, landmarks, truth and result."""
    height, width = pair.reference.shape[:2]
    sheet = Image.new(
        "RGB",
        (len(columns) * (width + _GAP_PX) - _GAP_PX, _HEADER_PX + len(frames) * (height + _GAP_PX) - _GAP_PX),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    for column, label in enumerate(columns):
        centre = column * (width + _GAP_PX) + width / 2
        draw.text((centre, _HEADER_PX / 2), label, fill="black", font=font, anchor="mm")
    for row, frame in enumerate(frames):
        top = _HEADER_PX + row * (height + _GAP_PX)
        pictures = (pair.reference, pair.landmarks[frame], pair.truth[frame], pair.result[frame])
        for column, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (column * (width + _GAP_PX), top))
    return sheet


def spread_frames(count: int, wanted: int) -> Sequence[int]:
    """`wanted` frame numbers spread over `count` frames, the last one included."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(wanted, count)).round()})


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())
