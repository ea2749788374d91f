"""Video that can be watched while it is written: MPEG-TS or Matroska into a file, a pipe or an address.

Every frame leaves the encoder at once and the file as soon as `flush` is called, so that a player can follow, and what
a killed run has written can be played. Times are given, not counted: where frames were left out, the one before is
shown longer.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter

from tasks.media.live import is_address, protocols_of, shown_address
from tasks.media.opening import printable
from tasks.media.write import as_bt709, say_colours

FORMS = {".ts": "mpegts", ".mkv": "matroska"}
READER_GONE = (BrokenPipeError, ConnectionResetError)  # of a pipe, of a connection
_OF_ADDRESSES = {"rtmp": "flv", "rtsp": "rtsp"}  # the others take MPEG-TS
_OPTIONS = {"matroska": {"live": "1", "cluster_time_limit": "1"}}  # a piece of the file for every frame
_UNIT = Fraction(1, 90_000)  # seconds: MPEG's clock
_CRF = 18


def check_growing(output: str) -> None:
    """Raise ValueError for an output that cannot be written while it is watched, or that is there already."""
    if output == "-":
        return
    if is_address(output):
        protocols_of(output)
        return
    path = Path(output)
    if path.suffix.lower() not in FORMS:
        raise ValueError(
            f"output {printable(path)}: expected NAME.ts or NAME.mkv, which can be watched while they grow, - for a "
            "pipe (MPEG-TS), or an address such as udp://127.0.0.1:5000"
        )
    if not path.parent.is_dir():
        raise ValueError(f"output {printable(path)}: there is no folder {printable(path.parent)}")
    if path.exists() and not path.is_fifo():
        raise ValueError(f"output {printable(path)} is there already; give another name, or remove it")


class GrowingVideo:
    """Writes H.264 frame by frame. output: see `check_growing`; pipe: what `-` means, opened without a buffer.

    `frames` counts what was written. Raises one of `READER_GONE` when whoever was reading has gone, OSError that names
    the output when the disk is full or an address, which the first frame is sent to, does not answer.
    """

    def __init__(self, output: str, width: int, height: int, fps: float, pipe: IO[bytes] | None = None) -> None:
        self.frames = 0
        self._name = shown_address(output) if is_address(output) else printable(output)
        self._size = (width, height)
        self._last = -1
        self._convert = VideoReformatter()
        self._file: IO[bytes] | None = None
        options = {"flush_packets": "1"}
        target: Any
        if output == "-":
            assert pipe is not None, "- means a pipe"
            target, form = pipe, "mpegts"
        elif is_address(output):
            target, form = output, _OF_ADDRESSES.get(output.partition("://")[0].lower(), "mpegts")
            options["protocol_whitelist"] = protocols_of(output)
        else:
            form = FORMS[Path(output).suffix.lower()]
            options |= _OPTIONS.get(form, {})
            flags = os.O_WRONLY | (0 if Path(output).is_fifo() else os.O_CREAT | os.O_EXCL)
            target = self._file = os.fdopen(os.open(output, flags, 0o644), "wb", buffering=0)
        try:
            self._container = av.open(target, "w", format=form, container_options=options)
            self._stream = self._encoder(fps)
        except (av.error.FFmpegError, OSError) as error:
            self._release()
            raise self._failed(error) from error

    def _encoder(self, fps: float) -> Any:
        """No frame is held back, and once a second one begins anew: there a player can join."""
        rate = Fraction(fps).limit_denominator(1001)
        options = {"crf": str(_CRF), "preset": "ultrafast", "tune": "zerolatency", "g": str(max(1, round(fps)))}
        stream = self._container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = _UNIT
        say_colours(stream)
        return stream

    def __enter__(self) -> Self:
        return self

    def write(self, image: np.ndarray, time_s: float) -> None:
        """Append an image (h, w, 3) uint8 RGB that is shown from `time_s` on, which is behind the last one's."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = as_bt709(frame, self._convert)
        frame.pts, frame.time_base = max(round(time_s / _UNIT), self._last + 1), _UNIT
        frame.pict_type = 0
        self._mux(frame)
        self._last = frame.pts
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it playably, whatever ended the block."""
        try:
            if kind is None or not issubclass(kind, OSError):  # the output itself has failed
                self._mux(None)
                self._container.close()
        finally:
            self._release()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        """Encode a frame, or what is left, and send it off."""
        try:
            self._container.mux(self._stream.encode(frame))
        except READER_GONE:
            raise
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Any) -> OSError:
        """For a user: FFmpeg's own words would tell an address with the password in it."""
        return OSError(f"output {self._name}: cannot be written ({error.strerror})")

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
