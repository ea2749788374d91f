"""Pictures of what became no clip: three frames of a face track with its box, taken as the frames pass."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageDraw

from fye_model.files import whole_file
from tasks.media.compose import pictures_in_a_row
from tasks.media.read import to_rgb

FRAMES = 3
SIDE_PX = 192  # height of a picture
_QUALITY = 80


class LostPictures:
    """Draws one file for each track, in the folder `out`, under its number: 000.jpg, 001.jpg, …"""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._wanted: dict[int, list[int]] = defaultdict(list)  # frame -> tracks
        self._boxes: list[tuple[float, float, float, float]] = []
        self._drawn: list[list[Image.Image]] = []
        self._convert = VideoReformatter()

    def add(self, start: int, stop: int, box: tuple[float, float, float, float]) -> None:
        """Another track: its frames, start .. stop, and its box in their pixels."""
        for frame in sorted({int(i) for i in np.linspace(start, stop - 1, min(FRAMES, stop - start)).round()}):
            self._wanted[frame].append(len(self._boxes))
        self._boxes.append(box)
        self._drawn.append([])

    @property
    def until(self) -> int:
        """Behind the last frame that is wanted."""
        return max(self._wanted, default=-1) + 1

    def see(self, number: int, frame: av.VideoFrame) -> None:
        """Take a frame where it is wanted; frames come in order."""
        tracks = self._wanted.get(number)
        if not tracks:
            return
        picture = to_rgb(frame, self._convert)
        for track in tracks:
            self._drawn[track].append(_boxed(picture, self._boxes[track]))

    def write(self) -> None:
        """Write what was taken."""
        for number, pictures in enumerate(self._drawn):
            row = pictures_in_a_row([np.asarray(picture) for picture in pictures], pictures[0].height)
            with whole_file(self._out / f"{number:03d}.jpg") as temporary:
                Image.fromarray(row).save(temporary, "JPEG", quality=_QUALITY)


def _boxed(picture: np.ndarray, box: tuple[float, float, float, float]) -> Image.Image:
    drawn = Image.fromarray(picture)
    ImageDraw.Draw(drawn).rectangle(box, outline="red", width=max(2, drawn.height // 120))
    drawn.thumbnail((SIDE_PX * 16 // 9, SIDE_PX))
    return drawn
