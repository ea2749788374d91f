"""Writing mp4 files that are whole or absent: constant rate, short groups of pictures, sound, repeatable bytes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from fye_model.files import whole_file
from tasks.media.audio import AudioSource, AudioTrack, SoundTrack
from tasks.media.opening import open_container

CONSTANT_RATE_MARK = "constant frame rate"  # the `comment` of files written here: decord may open them
BT709, LIMITED_RANGE = 1, 1
FULL_RANGE = 2


class VideoWriter:
    """Writes an H.264 mp4 of constant rate: bytes depend only on the frames and the settings (one encoder thread).

    Groups of pictures are short and there are no B-frames, hence no edit lists and cheap random access. The file is
    built under a temporary name beside `path` and appears under its own name, synced to disk, only when the block
    ends well. `frames` counts what was written. Sound comes from the file `audio` from `audio_start_s` on, or, in the
    form that `sound` has, through `write_sound`.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        fps: float,
        *,
        crf: int,
        gop: int = 12,
        audio: Path | None = None,
        audio_start_s: float = 0.0,
        sound: AudioSource | None = None,
        colorspace: int = BT709,
    ) -> None:
        if width % 2 or height % 2:
            raise ValueError(f"{path}: H.264 4:2:0 needs even sides, got {width}x{height}; crop or pad the frames")
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"{path}: fps must be a positive number, got {fps}")
        self.path = Path(path)
        self.frames = 0
        self._size = (width, height)
        self._rate = Fraction(fps).limit_denominator(1001)
        self._convert = VideoReformatter()
        self._file = whole_file(self.path)
        self._temporary = self._file.__enter__()
        try:
            self._open(crf, gop, colorspace)
            self._audio = AudioTrack(self._container, audio, audio_start_s) if audio is not None else None
            self._sound = SoundTrack(self._container, sound) if sound is not None else None
        except BaseException as error:
            self._file.__exit__(type(error), error, error.__traceback__)
            raise

    def _open(self, crf: int, gop: int, colorspace: int) -> None:
        self._container = av.open(f"file:{self._temporary}", "w", format="mp4")
        self._container.metadata["comment"] = CONSTANT_RATE_MARK
        # ultrafast: at equal crf it loses nothing to the next presets but the file size, and encodes and decodes
        # about twice as fast as the ones that compress better
        self._stream = self._container.add_stream(
            "libx264",
            rate=self._rate,
            options={"crf": str(crf), "preset": "ultrafast", "g": str(gop), "bf": "0"},
        )
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 1
        say_colours(self._stream, colorspace)

    def __enter__(self) -> Self:
        return self

    def write(self, image: np.ndarray) -> None:
        """Append an image: (h, w, 3) uint8 RGB."""
        width, height = self._size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(
                f"{self.path}: frame {self.frames} is {image.dtype} {image.shape}, "
                f"expected uint8 ({height}, {width}, 3)"
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self.write_frame(as_bt709(frame, self._convert))

    def write_frame(self, frame: av.VideoFrame) -> None:
        """Append a yuv420p frame of the right size, in the colour space given at the start; its time is overwritten."""
        frame.pts, frame.time_base = self.frames, 1 / self._rate
        frame.pict_type = 0  # the source's picture types would otherwise be imposed on the encoder
        self._container.mux(self._stream.encode(frame))
        self.frames += 1
        if self._audio is not None:
            self._audio.write_until(float(self.frames / self._rate))

    def write_sound(self, samples: np.ndarray) -> None:
        """Append samples (1, n * channels) int16 of the sound that was announced at the start."""
        assert self._sound is not None
        self._sound.write(samples)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except BaseException as failed:
            self._release()
            self._file.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._release()
        self._file.__exit__(kind, error, trace)

    def _finish(self) -> None:
        """Write what the encoders still hold, and count what is in the file."""
        if not self.frames:
            raise ValueError(f"{self.path}: no frames to write")
        self._container.mux(self._stream.encode(None))
        for track in (self._audio, self._sound):
            if track is not None:
                track.finish()
        self._container.close()
        written = _packets(self._temporary)
        if written != self.frames:
            raise OSError(f"{self.path}: {self.frames} frames were encoded and {written} are in the file")

    def _release(self) -> None:
        if self._audio is not None:
            self._audio.close()
        with contextlib.suppress(OSError):
            self._container.close()


def as_bt709(rgb: av.VideoFrame, convert: VideoReformatter, stored: str = "yuv420p") -> av.VideoFrame:
    """An RGB frame in the colours of high definition, which `say_colours` says by default."""
    return convert.reformat(
        rgb, format=stored, dst_colorspace=BT709, src_color_range=FULL_RANGE, dst_color_range=LIMITED_RANGE
    )


def say_colours(stream: Any, colorspace: int = BT709) -> None:
    """Write into a stream which colours its numbers mean: a player would otherwise guess by the size."""
    stream.colorspace = stream.color_primaries = stream.color_trc = colorspace
    stream.color_range = LIMITED_RANGE


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    crf: int = 12,
    *,
    gop: int = 12,
    audio: Path | None = None,
    audio_start_s: float = 0.0,
) -> int:
    """Write RGB frames (h, w, 3) uint8 to an mp4, atomically, with sound from `audio_start_s` of `audio` on.

    Returns the number of frames. Frames are taken one at a time, so a generator keeps memory flat. Raises `ValueError`
    for no frames, odd sides or frames of different sizes, `OSError` when the disk is full.
    """
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError(f"{path}: no frames to write")
    height, width = first.shape[:2]
    with VideoWriter(path, width, height, fps, crf=crf, gop=gop, audio=audio, audio_start_s=audio_start_s) as writer:
        writer.write(first)
        for image in iterator:
            writer.write(image)
    return writer.frames


def _packets(path: Path) -> int:
    with open_container(path) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)
