"""Pictures as they come: of a camera, of a stream at an address, or of a file that is played at its own speed.

What is opened is what the user named. An address has to begin with one of the words below, FFmpeg may use the protocols
of that word alone (no files), and play lists are not followed, so that no stream can have anything else opened. A
camera has to be a video device. A file is opened as every other one (`opening.py`).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter

from tasks.engine.items import Quarantine
from tasks.media.moving import look_at, refuse
from tasks.media.opening import moving_streams, printable
from tasks.media.read import MAX_SOURCE_PIXELS, claims_of, to_rgb
from tasks.media.shape import Shape
from tasks.media.shown import open_reader

PROTOCOLS = {  # by the address's first word: what FFmpeg may use for it
    "rtsp": "rtp,udp,tcp",
    "rtsps": "rtp,udp,tcp,tls,crypto,srtp",
    "rtmp": "rtmp,tcp",
    "http": "http,tcp",
    "https": "https,http,tls,tcp",
    "udp": "udp",
    "rtp": "rtp,udp",
    "srt": "srt",
    "tcp": "tcp",
}
_FORMATS = "rtsp,rtp,sdp,mpegts,flv,matroska,mov,ogg,mpjpeg,mpeg,h264,hevc,mjpeg"  # no lists of other addresses
_SILENT_S = 10.0  # without a packet, a stream has ended
_LOOK_US = 1_000_000  # how much of a stream is looked at before its pictures are given
_VIDEO_DEVICES = 81  # the number of the kernel's driver of cameras
_MOST_SIDE = 1280  # pixels: enough to find a face, and half the work of larger ones
_USUAL_STILL_S = 2.0


class Clock(Protocol):
    """Seconds since some moment, and waiting."""

    def now(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class RealClock:
    """The machine's own."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class LiveSource(Protocol):
    """What is opened. fps: frames a second, by its own word; words: what it is, for a user; ended: why it broke off, or
    None."""

    @property
    def fps(self) -> float: ...
    @property
    def words(self) -> str: ...
    @property
    def ended(self) -> str | None: ...
    def pictures(self) -> Iterator[tuple[float, np.ndarray]]:
        """(seconds since the first one, (h, w, 3) uint8 RGB), each when it is there; times rise."""
        ...

    def close(self) -> None: ...


class PlayedFile:
    """A video, or a folder of frames at `frames_fps`, played at its own speed. Raises ValueError for what is none."""

    ended: str | None = None

    def __init__(self, path: Path, clock: Clock, frames_fps: float) -> None:
        self._path, self._clock = path, clock
        try:
            self._moving = look_at(path, frames_fps, _USUAL_STILL_S)
            self._video = self._moving.open()
        except Quarantine as error:
            raise refuse(path, error, "source") from error
        self.fps = self._moving.settings.fps
        self.words = f"{printable(path.name)}, played at its own speed, {self.fps:g} frames/s"

    def pictures(self) -> Iterator[tuple[float, np.ndarray]]:
        """As `LiveSource`. Raises ValueError for damage that ends it."""
        started = None
        try:
            for number, (_, rgb) in enumerate(self._video.pictures()):
                now = self._clock.now()
                started = now if started is None else started
                self._clock.sleep(max(0.0, started + number / self.fps - now))
                yield number / self.fps, rgb
        except Quarantine as error:
            raise refuse(self._path, error, "source") from error

    def close(self) -> None:
        self._video.close()


class Stream:
    """A camera or an address, opened: `container` is FFmpeg's. name: for messages. Raises ValueError for one without
    pictures. Where it breaks off or is silent for ten seconds it ends; `ended` then says why."""

    def __init__(self, container: Any, name: str, clock: Clock) -> None:
        self._container, self._name, self._clock = container, name, clock
        self.ended: str | None = None
        streams = moving_streams(container)
        if not streams:
            raise ValueError(f"{name}: no video in it")
        stream = streams[0]
        context = stream.codec_context
        if context.width * context.height > MAX_SOURCE_PIXELS:
            raise ValueError(f"{name}: claims {context.width}x{context.height} pixels; at most {MAX_SOURCE_PIXELS}")
        context.thread_count = 1  # more would hold frames back
        context.options = {"max_pixels": str(MAX_SOURCE_PIXELS)}
        self._frames = self._decoded(stream)
        self._first = next(self._frames, None)
        if self._first is None:
            raise ValueError(f"{name}: no picture came ({self.ended or 'the stream ended'})")
        info = claims_of(container, stream, self._first)
        self.fps = info.fps
        self.words = f"{name}, {info.width}x{info.height} at {self.fps:g} frames/s"
        try:
            self._shape = Shape(Path(name), info, _MOST_SIDE)
        except Quarantine as error:
            raise ValueError(error.message) from error
        self._shape.begin(self._first)

    def pictures(self) -> Iterator[tuple[float, np.ndarray]]:
        """As `LiveSource`, by the stream's own clock where that goes on, or else by ours."""
        convert, last_s, came_s, at_s = VideoReformatter(), None, 0.0, -1.0
        for frame in self._with_first():
            now, own_s = self._clock.now(), frame.time
            passed_s = now - came_s
            if own_s is not None and last_s is not None and 0 < own_s - last_s < _SILENT_S:
                passed_s = own_s - last_s
            at_s = 0.0 if at_s < 0 else at_s + max(passed_s, 1e-3)
            last_s, came_s = own_s, now
            try:
                shown = self._shape(frame)
            except Quarantine as error:
                raise ValueError(f"{self._name}: {error.message}") from error
            yield at_s, to_rgb(shown, convert)

    def close(self) -> None:
        self._container.close()

    def _with_first(self) -> Iterator[av.VideoFrame]:
        assert self._first is not None
        yield self._first
        yield from self._frames

    def _decoded(self, stream: Any) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.ExitError:
                self.ended = f"nothing came from {self._name} for {_SILENT_S:g} s"
                return
            except (av.error.FFmpegError, OSError) as error:
                self.ended = f"{self._name} broke off ({getattr(error, 'strerror', None) or error})"
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                continue  # a stream that is joined in its middle begins with pieces
            yield from (frame for frame in frames if not frame.is_corrupt)


def is_address(source: str) -> bool:
    """Whether a source or an output is named by an address, such as rtsp://…"""
    return "://" in source


def shown_address(address: str) -> str:
    """An address for messages: without a name and password in it."""
    parts = urlsplit(address)
    return printable(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")))


def protocols_of(address: str) -> str:
    """What FFmpeg may use for an address. Raises ValueError for one of another kind."""
    word = address.partition("://")[0].lower()
    if word not in PROTOCOLS:
        known = ", ".join(f"{name}://" for name in PROTOCOLS)
        raise ValueError(f"{shown_address(address)}: not an address that is opened; expected one of {known}")
    return PROTOCOLS[word]


def check_source(source: str, frames_fps: float) -> None:
    """Look at a source before anything slow, without opening a camera or an address: ValueError for what is none."""
    if is_address(source):
        protocols_of(source)
    elif not _is_camera(source):
        try:
            open_reader(Path(source), frames_fps).close()
        except Quarantine as error:
            raise refuse(Path(source), error, "source") from error


def open_source(source: str, clock: Clock, frames_fps: float = 25.0) -> LiveSource:
    """Open a camera (/dev/video0), an address (rtsp://…) or a file. Raises ValueError with what to do."""
    if is_address(source):
        options = {"protocol_whitelist": protocols_of(source), "format_whitelist": _FORMATS}
        options["analyzeduration"] = str(_LOOK_US)
        return _opened(source, shown_address(source), clock, None, options)
    if _is_camera(source):
        return _opened(source, printable(source), clock, "v4l2", {})
    return PlayedFile(Path(source), clock, frames_fps)


def _opened(source: str, name: str, clock: Clock, form: str | None, options: dict[str, str]) -> Stream:
    try:
        container = av.open(
            source, format=form, container_options=options, timeout=_SILENT_S, metadata_errors="replace"
        )
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(
            f"{name}: cannot be opened ({error.strerror}); is it there, and free? Play lists (HLS, DASH) are not "
            "followed: give the address of the stream itself"
            if form is None
            else f"{name}: the camera cannot be opened ({error.strerror}); is it in use, or yours to read?"
        ) from None
    try:
        return Stream(container, name, clock)
    except BaseException:
        container.close()
        raise


def _is_camera(source: str) -> bool:
    """Whether a path is a video device; other devices are refused where files are opened."""
    try:
        found = os.stat(source)
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) == _VIDEO_DEVICES
