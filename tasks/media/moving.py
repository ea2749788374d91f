"""What moves a portrait, looked at before it is read: a video, a folder of frames or a still picture, and its sound."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.engine.items import Quarantine
from tasks.media.audio import AudioSource, NoSoundError
from tasks.media.opening import printable
from tasks.media.shown import ShownVideo, ShowSettings, open_reader
from tasks.media.timing import rate_of

_MAX_HOLD_S = 10.0  # a longer hole is another video; hostile times would ask for frames without end


@dataclass(frozen=True)
class Moving:
    """A driver that was looked at. settings: how it is shown, at its own rate; sound: the file that has it, or None;
    notes: what is to be known of it so far."""

    path: Path
    settings: ShowSettings
    sound: Path | None
    notes: tuple[str, ...]

    def open(self) -> ShownVideo:
        """Its frames, from the first on; as often as they are wanted."""
        return ShownVideo(self.path, self.settings)


def look_at(path: Path, frames_fps: float, still_s: float) -> Moving:
    """Find out what a driver is, at which rate it is to be shown, and whether it has sound.

    frames_fps: of a folder of frames and of a still picture, which bring no rate; still_s: how long a still picture is
    held. Raises `Quarantine` for what is no moving picture.
    """
    settings = ShowSettings(fps=frames_fps, max_hold_s=_MAX_HOLD_S, single_s=still_s, frames_fps=frames_fps)
    with closing(open_reader(path, frames_fps)) as reader:
        times = np.unique(np.fromiter(reader.packet_times(), np.float64))
        claimed, has_audio = reader.info.fps, reader.info.has_audio
    notes = []
    if path.is_dir():
        notes.append(f"a folder of {len(times)} frames, read at {frames_fps:g} a second")
    elif len(times) > 1:
        settings = settings.model_copy(update={"fps": rate_of(times, claimed)})
    sound = path if has_audio and _has_sound(path) else None
    if has_audio and sound is None:
        notes.append("its sound cannot be decoded, so the result has none")
    return Moving(path, settings, sound, tuple(notes))


def refuse(path: Path, error: Quarantine, what: str = "driving video") -> ValueError:
    """The user's error for a driver, or what else it is called, that cannot be read."""
    message = error.message if printable(path) in error.message else f"{printable(path)}: {error.message}"
    return ValueError(f"{message} (the {what})")


def _has_sound(path: Path) -> bool:
    try:
        AudioSource(path).close()
    except NoSoundError:
        return False
    return True
