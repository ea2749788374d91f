"""A video as a player shows it, at a constant rate: the one way in which data and drivers are opened.

Upright, in square pixels, deinterlaced, in the range of ordinary video, each instant k / fps showing the frame whose
time is nearest. What a file lacks or has damaged is counted and told in words; what it holds is given.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from fye_model.config import Config
from tasks.engine.items import Quarantine
from tasks.media.deinterlace import Deinterlacer
from tasks.media.opening import printable
from tasks.media.pictures import PictureReader, read_as_pictures
from tasks.media.read import VideoInfo, VideoReader, to_rgb
from tasks.media.shape import Shape

_PROMISE_SLACK_S = 0.25  # headers round, and count the time before the first frame
T = TypeVar("T")


class ShowSettings(Config):
    """How a video is shown.

    fps: of the result. max_side: pixels of the longer side; larger videos are reduced. start_s, end_s: the span that is
    taken, in seconds after the first frame; to the end without `end_s`. max_hold_s: a frame that would be shown longer
    is a hole in the video. single_s: how long a video of one frame shows it; None: for one frame's time. frames_fps: of
    a folder of frames.
    """

    fps: float
    max_side: int = 1920
    start_s: float = 0.0
    end_s: float | None = None
    max_hold_s: float = 2.0
    single_s: float | None = None
    frames_fps: float = 25.0


class FrameReader(Protocol):
    """What is read frame by frame: see `VideoReader`, and `PictureReader` for folders of frames and pictures."""

    corrupt_frames: int
    refused_packets: int

    @property
    def info(self) -> VideoInfo: ...
    def __iter__(self) -> Iterator[av.VideoFrame]: ...
    def packet_times(self) -> Iterator[float]: ...
    def seek_time(self, time_s: float) -> None: ...
    def cut_off_frames(self) -> int: ...
    def promised_seconds(self) -> float | None: ...
    def close(self) -> None: ...


def open_reader(path: Path, frames_fps: float) -> FrameReader:
    """The reader of a video, a folder of frames or a picture, by what is there. Raises `Quarantine`."""
    return PictureReader(path, frames_fps) if read_as_pictures(path) else VideoReader(path)


@dataclass(frozen=True)
class Damage:
    """Frames that were lost, by how."""

    corrupt: int  # the decoder marked them
    refused: int  # packets that it could not decode
    missing: int  # the file promises them and ends before they come

    @property
    def inside(self) -> int:
        """Frames lost between others."""
        return self.corrupt + self.refused


class ShownVideo:
    """Frames of one video in their final form, once, in order; what was found on the way is known when they ended.

    `info`: what the file claims. `shape`: the form of its frames. `good`: source frames that could be used; `unordered`
    and `interlaced`: those that came out of order (left out) and those that were deinterlaced. Raises `Quarantine` for
    what is no video, while it is opened and while frames are taken (size_changes, time_gap).
    """

    def __init__(self, path: Path, settings: ShowSettings) -> None:
        self.path, self.settings = path, settings
        self.first_s = math.nan  # of the first frame that is shown, on the file's clock
        self.good = self.unordered = self.interlaced = 0
        self._last_end_s: float | None = None  # of the whole source; known when it was read to its end
        self._reader = open_reader(path, settings.frames_fps)
        try:
            self.info: VideoInfo = self._reader.info
            self.shape = Shape(path, self.info, settings.max_side)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()

    def frames(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """(time on the file's clock in seconds, yuv420p frame), one for each 1 / fps. A frame that is shown again, for
        want of a newer one, comes as the same object with the same time."""
        shown: tuple[float, av.VideoFrame] | None = None
        for time_s, frame in at_constant_rate(self._timed(), self.settings.fps):
            if shown is None:
                self.shape.begin(frame)
                self.first_s = time_s
            if shown is None or shown[0] != time_s:
                shown = time_s, self.shape(frame)
            yield shown

    def pictures(self) -> Iterator[tuple[float, np.ndarray]]:
        """As `frames`, with (h, w, 3) uint8 RGB pictures."""
        convert = VideoReformatter()
        shown: tuple[float, np.ndarray] | None = None
        for time_s, frame in self.frames():
            if shown is None or shown[0] != time_s:
                shown = time_s, to_rgb(frame, convert)
            yield shown

    def damage(self) -> Damage:
        """Counted after the frames were taken; frames are only missed when the source was read to its end."""
        missing = 0
        if self._last_end_s is not None:
            missing = self._reader.cut_off_frames()
            promised = self._reader.promised_seconds()
            if promised is not None:
                lost_s = promised - (self._last_end_s - self.info.start_s)
                missing = max(missing, round(lost_s * self.info.fps) if lost_s > _PROMISE_SLACK_S else 0)
        return Damage(self._reader.corrupt_frames, self._reader.refused_packets, missing)

    def notes(self) -> tuple[str, ...]:
        """What a user should know about the file, in words; to be asked after the frames were taken."""
        damage, told = self.damage(), []
        if damage.missing:
            seconds = damage.missing / self.info.fps
            told.append(
                f"the file ends too early: the last {damage.missing} of {self.good + damage.inside + damage.missing} "
                f"frames ({seconds:.2f} s) are missing; what is there is used"
            )
        if damage.inside:
            told.append(f"{damage.inside} damaged frames are left out, their neighbours shown longer")
        if self.unordered:
            told.append(f"{self.unordered} frames without a time of their own are left out")
        if self.interlaced:
            told.append(f"{self.interlaced} interlaced frames are deinterlaced")
        if self.shape.tone_mapped:
            told.append(f"{self.shape.tone_mapped} (HDR) is brought to the range of ordinary video")
        if self.alone and self.settings.single_s is not None:
            told.append(f"a single picture, which is held for {self.settings.single_s:g} s")
        return tuple(told)

    @property
    def alone(self) -> bool:
        """Whether there was only one frame; known when the frames were taken."""
        return self.good == 1

    def _timed(self) -> Iterator[tuple[float, float, av.VideoFrame]]:
        """Good frames of the span as (time, duration, frame), deinterlaced, seconds of the file's clock."""
        deinterlacer, times = Deinterlacer(), deque[tuple[float, float]]()
        last: tuple[float, float, av.VideoFrame] | None = None  # held back: of a single one, the length is set
        for time_s, duration_s, frame in self._good():
            times.append((time_s, duration_s))
            for ready in deinterlacer.push(frame):
                if last is not None:
                    yield last
                last = (*times.popleft(), ready)
        for ready in deinterlacer.finish():
            if last is not None:
                yield last
            last = (*times.popleft(), ready)
        if last is not None:
            held_s = self.settings.single_s if self.alone else None
            yield last if held_s is None else (last[0], held_s, last[2])

    def _good(self) -> Iterator[tuple[float, float, av.VideoFrame]]:
        """Frames of the span that are whole and in order as (time, duration, frame)."""
        first_s, hold_s, end_s = self.info.start_s, self.settings.max_hold_s, self.settings.end_s
        start, end = first_s + self.settings.start_s, math.inf if end_s is None else first_s + end_s
        if self.settings.start_s > 0:
            self._reader.seek_time(start)
        nominal, last = 1 / self.info.fps, -math.inf
        for frame in self._reader:
            time = frame.time
            if time is None:
                time = first_s if math.isinf(last) else last + nominal
                frame.time_base = frame.time_base or Fraction(1, 90_000)
                frame.pts = round(time / frame.time_base)
            duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else nominal
            if frame.is_corrupt or time < start - 1e-6:
                continue
            if time >= end - 1e-6:
                return
            if not math.isfinite(time) or time <= last:
                self.unordered += 1
                continue
            if time - last > hold_s and self.good:
                raise Quarantine(
                    "time_gap",
                    f"{printable(self.path)}: no picture from {last - first_s:.2f} s to {time - first_s:.2f} s; at "
                    f"most {hold_s:g} s is bridged. Cut the video in two there",
                )
            last = time
            self.good += 1
            self.interlaced += bool(frame.interlaced_frame)
            yield time, min(duration, hold_s, end - time), frame
        self._last_end_s = last + nominal


def at_constant_rate(timed: Iterable[tuple[float, float, T]], fps: float) -> Iterator[tuple[float, T]]:
    """For each instant k / fps after the first frame, the frame nearest in time (the earlier one of two equally near).

    `timed`: (time, duration, frame) in seconds with rising times. Yields (time of the frame, frame); the count is the
    length of the source, last duration included, times fps, rounded. Holds two frames.
    """
    previous: tuple[float, float, T] | None = None
    first, k, slack = 0.0, 0, 1e-6
    for current in timed:
        if previous is None:
            first = current[0]
        else:
            middle = (previous[0] + current[0]) / 2 - first
            while k / fps <= middle + slack:
                yield previous[0], previous[2]
                k += 1
        previous = current
    if previous is not None:
        end = previous[0] + previous[1] - first
        while (k + 0.5) / fps <= end + slack:
            yield previous[0], previous[2]
            k += 1
