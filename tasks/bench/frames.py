"""Videos of a bench and of methods: what one is when it is decoded, and its frames at the size of the comparison."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fye_model.config import Config
from tasks.engine.items import Quarantine
from tasks.media.pictures import read_picture
from tasks.media.read import VideoReader, iter_frames


class ProbeRow(Config):
    """What a video is, as decoded. damaged: frames or packets that the decoder could not read whole."""

    frames: int
    fps: float
    width: int
    height: int
    damaged: int


def probe_to_the_end(path: Path) -> ProbeRow:
    """Decode a video to its end. Raises `Quarantine`, whose message does not name the path, where it is none."""
    try:
        with VideoReader(path) as reader:
            info, frames = reader.info, sum(1 for _ in reader)
            damaged = reader.corrupt_frames + reader.refused_packets
    except Quarantine as bad:
        raise Quarantine(bad.reason, bad.message.replace(f"{path}: ", "")) from bad
    return ProbeRow(frames=frames, fps=info.fps, width=info.width, height=info.height, damaged=damaged)


def at_size(frame: np.ndarray, size: int) -> np.ndarray:
    """(h, w, 3) uint8 -> (size, size, 3): averaged over areas where it shrinks, bicubic where it grows."""
    if frame.shape[:2] == (size, size):
        return frame
    shrinks = min(frame.shape[:2]) >= size
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(frame).resize((size, size), how))


def video_at_size(path: Path, size: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """Frames [start, stop) of a video at this size, one in memory at a time."""
    for frame in iter_frames(path, start, stop):
        yield at_size(frame, size)


def picture_at_size(path: Path, size: int) -> np.ndarray:
    """A stored portrait at this size."""
    return at_size(np.asarray(read_picture(path)), size)
