"""Squares cut out of a video's frames as they pass, each into a file of its own with its part of the sound.

One pass serves any number of files, so a source too long to be held is decoded only once more, whatever is cut of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import av
from av.video.reformatter import VideoReformatter

from fye_model.landmarks.boxes import Square
from tasks.media.audio import SpanSound
from tasks.media.planes import cut, resize
from tasks.media.write import VideoWriter


@dataclass(frozen=True)
class Cutting:
    """Frames start .. stop, the square of them in pixels, and the file that they go to."""

    start: int
    stop: int
    square: Square
    path: Path


@dataclass(frozen=True)
class CutForm:
    """What all files of one video have in common; `size`: side in pixels, crf: x264's quality."""

    size: int
    fps: float
    crf: int
    colorspace: int


def cut_squares(
    frames: Iterable[av.VideoFrame],
    cuttings: Sequence[Cutting],
    form: CutForm,
    sound: SpanSound | None = None,
    see: Callable[[int, av.VideoFrame], None] | None = None,
    until: int = 0,
) -> None:
    """Cut the files out of frames 0, 1, … of a video, which are taken no further than needed.

    sound: begins with frame 0. see: is shown every frame with its number, at least up to frame `until` (not included).
    Raises RuntimeError where there are fewer frames than are to be cut.
    """
    waiting = sorted(cuttings, key=lambda cutting: cutting.start, reverse=True)
    last = max([until, *(cutting.stop for cutting in cuttings)])
    cutters: list[_Cutter] = []
    number = -1
    with ExitStack() as opened:
        for number, frame in enumerate(frames):
            while waiting and waiting[-1].start == number:
                cutters.append(opened.enter_context(_Cutter(waiting.pop(), form, sound)))
            samples = None if sound is None else sound.until((number + 1) / form.fps)
            for cutter in cutters:
                cutter.writer.write_frame(cutter.square_of(frame))
                if samples is not None:
                    cutter.writer.write_sound(samples)
            if see is not None:
                see(number, frame)
            for cutter in cutters:
                if cutter.cutting.stop == number + 1:
                    cutter.finish()
            cutters = [cutter for cutter in cutters if cutter.cutting.stop > number + 1]
            if number + 1 == last:
                return
        raise RuntimeError(f"a second look at the video found {number + 1} frames where the first found {last} or more")


class _Cutter:
    """Writes one file; whole once it is finished, and not there where the block ends before."""

    def __init__(self, cutting: Cutting, form: CutForm, sound: SpanSound | None) -> None:
        self.cutting, self._size = cutting, form.size
        self._convert = VideoReformatter()
        self._open = True
        self.writer = VideoWriter(
            cutting.path,
            form.size,
            form.size,
            form.fps,
            crf=form.crf,
            sound=None if sound is None else sound.source,
            colorspace=form.colorspace,
        )

    def __enter__(self) -> _Cutter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open = False
            self.writer.__exit__(kind, error, trace)

    def square_of(self, frame: av.VideoFrame) -> av.VideoFrame:
        square = self.cutting.square
        part = cut(frame, square.left, square.top, square.side, square.side)
        return resize(part, self._size, self._size, self._convert)

    def finish(self) -> None:
        self.__exit__(None, None, None)
