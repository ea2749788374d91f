"""The same held-out frames by every variant of a model, side by side: what an ablation's table means to the eye."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tasks.media.read import read_frames
from tasks.results.pictures import COLUMNS, spread_frames

_ROWS, _GAP_PX, _HEADER_PX = 4, 4, 34
_SMALLEST_PX = 96  # of a column: a label has to fit over it


def variants_sheet(videos: Mapping[str, Path], third: str) -> Image.Image:
    """One row a frame: reference, truth (or driver, as `third` says), then each variant's result.

    videos: label -> the video that the evaluation wrote of one clip, of the same frames for all.
    """
    first = read_frames(next(iter(videos.values())))
    rows = list(spread_frames(len(first), _ROWS))
    pictures = {"reference": _part(first, rows, "reference"), third: _part(first, rows, "truth")}
    pictures |= {label: _part(read_frames(path), rows, "result") for label, path in videos.items()}
    side = max(_SMALLEST_PX, first.shape[1])
    sheet = Image.new(
        "RGB", (len(pictures) * (side + _GAP_PX) - _GAP_PX, _HEADER_PX + len(rows) * (side + _GAP_PX)), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for column, (label, frames) in enumerate(pictures.items()):
        left = column * (side + _GAP_PX)
        text = label.replace(" ", "\n", 1) if len(label) > 12 else label
        draw.multiline_text((left + side / 2, _HEADER_PX / 2), text, "black", font, anchor="mm", align="center")
        for row, frame in enumerate(frames):
            picture = Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC)
            sheet.paste(picture, (left, _HEADER_PX + row * (side + _GAP_PX)))
    return sheet


def _part(frames: np.ndarray, rows: list[int], column: str) -> np.ndarray:
    """One column of a side-by-side video's frames."""
    width = frames.shape[2] / len(COLUMNS)
    left = round(COLUMNS.index(column) * width)
    return np.asarray(frames[rows, :, left : round(left + width)])
