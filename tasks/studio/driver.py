"""A visitor's driver, looked at before anything is made with it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.animation.progress import seconds
from tasks.animation.request import check_driver
from tasks.engine.items import Quarantine
from tasks.faces.driver import is_table
from tasks.media.moving import look_at, refuse
from tasks.media.shown import open_reader

_SHOWN_PX = 480  # longer side
_SHORT_S = 60.0  # below, tenths are told


@dataclass(frozen=True)
class SeenDriver:
    """picture: its first frame, None of a stored table; facts: what it is, in a line; notes: what is to be known."""

    picture: Image.Image | None
    facts: str
    notes: tuple[str, ...] = ()


def see_driver(path: Path, fps: float, still_s: float) -> SeenDriver:
    """What a driver is, as `fye animate` will read it. fps: of what brings no rate. Raises ValueError."""
    check_driver(path, None)
    if is_table(path):
        return SeenDriver(None, "a stored landmark table")
    try:
        moving = look_at(path, fps, still_s)
        with closing(open_reader(path, fps)) as reader:
            times = np.fromiter(reader.packet_times(), np.float64)
        with moving.open() as video:
            first = next((rgb for _, rgb in video.pictures()), None)
    except Quarantine as error:
        raise refuse(path, error) from error
    if first is None:
        raise ValueError(f"{path}: the driving video is empty: no frame could be decoded")
    rate = moving.settings.fps
    sound = "with sound" if moving.sound is not None else "silent"
    if len(times) == 1:
        facts = f"a still picture, held for {seconds(still_s)}"
    else:
        length_s = float(np.ptp(times)) + 1 / rate
        length = f"{length_s:.1f} s" if length_s < _SHORT_S else seconds(length_s)
        facts = f"{length} at {rate:.4g} frames a second, {sound}"
    return SeenDriver(_small(first), facts, moving.notes)


def _small(rgb: np.ndarray) -> Image.Image:
    picture = Image.fromarray(rgb)
    picture.thumbnail((_SHOWN_PX, _SHOWN_PX))
    return picture
