"""Reading videos: what a file claims, and its frames in order or by index (writing is `tasks/media/write.py`).

PyAV reads anything; decord serves random access on files that `VideoWriter` wrote (constant rate, short groups of
pictures, no edit lists), where its assumptions hold. Both apply the colour matrix the file names and agree to the bit.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter

from tasks.engine.items import Quarantine
from tasks.media.opening import index_is_cut_off, moving_streams, open_container, printable
from tasks.media.orientation import UPRIGHT, Orientation, orientation_of
from tasks.media.write import CONSTANT_RATE_MARK, VideoWriter, write_video

__all__ = [
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "count_frames",
    "iter_constant_rate",
    "iter_frames",
    "probe",
    "read_frames",
    "to_rgb",
    "write_video",
]

DECODER = f"pyav {av.__version__} libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
_RATES = (0.1, 1000)  # frames a second that a header may claim and be believed
MAX_SOURCE_PIXELS = 8192 * 4352  # larger claims are damage or an attack; a frame would not fit in memory


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its first video stream; nothing here is counted or checked.

    `width`, `height`: pixels as shown (square pixels, turned as the file asks); `coded_size`: as stored. `frames` and
    `duration_s` are the container's claims, None when it makes none. `start_s`: time of the first frame on the file's
    clock.
    """

    codec: str
    pixel_format: str
    width: int
    height: int
    coded_size: tuple[int, int]
    fps: float
    frames: int | None
    start_s: float
    duration_s: float | None
    orientation: Orientation
    has_audio: bool
    constant_rate: bool


class VideoReader:
    """Frames of one video, one by one in order of presentation, with the damage counted on the way.

    `corrupt_frames` counts frames that the decoder marked as damaged, `refused_packets` those that it could not
    decode at all. One thread, so that a worker takes one core. Raises `Quarantine` for a file that holds no video.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.corrupt_frames = 0
        self.refused_packets = 0
        self._first: av.VideoFrame | None = None
        self._container = open_container(self.path)
        try:
            self.stream = _video_stream(self._container, self.path)
            self.stream.codec_context.thread_count = 1
            self.stream.codec_context.options = {"max_pixels": str(MAX_SOURCE_PIXELS)}
            self._frames = self._decode()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[av.VideoFrame]:
        """The frames not yet taken, to the end of the file, whatever number of frames the container claims."""
        first, self._first = self._first, None
        if first is not None:
            yield first
        yield from self._frames

    def _decode(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self.stream)
        size = self.path.stat().st_size
        while (packet := self._next_packet(packets)) is not None:
            if packet.is_corrupt and packet.pos is not None and packet.pos + packet.size >= size:
                continue  # the file ends inside it: it is missing, not damaged
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self.refused_packets += 1
                continue
            for frame in frames:
                self.corrupt_frames += bool(frame.is_corrupt)
                yield frame

    def _next_packet(self, packets: Iterator[av.Packet]) -> av.Packet | None:
        """None at the end of the file, also when that comes too early (see `cut_off_frames`, `promised_seconds`)."""
        try:
            return next(packets, None)
        except av.error.FFmpegError as error:
            if error.errno == errno.EIO:  # the disk's fault, not the file's
                raise
            return None

    def packet_times(self) -> Iterator[float]:
        """Times of all frames, in seconds and in order of storage, by a reading of its own that decodes nothing."""
        with open_container(self.path) as container:
            packets = container.demux(_video_stream(container, self.path))
            while (packet := self._next_packet(packets)) is not None:
                if packet.pts is not None and packet.size and not packet.is_discard:
                    yield float(packet.pts * packet.time_base)

    def seek_time(self, time_s: float) -> None:
        """Go to a key frame at or before `time_s` of the file's clock; to the start in files that cannot seek."""
        start = self.info.start_s
        if time_s <= start:
            return
        with contextlib.suppress(av.error.FFmpegError):
            self._container.seek(round(time_s * av.time_base))
            self._frames, self._first = self._decode(), None
            self._first = next(self._frames, None)
            if self._first is None or self._first.time is None or self._first.time > time_s:  # a broken index
                self._container.seek(round(start * av.time_base))
                self._frames, self._first = self._decode(), None
        self.corrupt_frames = self.refused_packets = 0

    def numbered_from(self, frame: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """(number, frame) of a constant-rate file, from the last key frame at or before frame `frame` on."""
        first, unit, rate = self.stream.start_time or 0, self.stream.time_base, self.stream.average_rate
        assert unit is not None and rate is not None
        self._container.seek(first + int(frame / rate / unit), stream=self.stream)
        self._frames, self._first = self._decode(), None
        for decoded in self:
            assert decoded.pts is not None
            yield round((decoded.pts - first) * unit * rate), decoded

    @cached_property
    def info(self) -> VideoInfo:
        """What the file claims; orientation and start are its first frame's, which is kept for the reading."""
        if self._first is None:
            self._first = next(self._frames, None)
        return claims_of(self._container, self.stream, self._first)

    def cut_off_frames(self) -> int:
        """Frames that the file's index places beyond its end, wholly or in part: what a broken download lacks (MP4)."""
        if "mp4" not in self._container.format.name:
            return 0
        size = self.path.stat().st_size
        return sum(1 for entry in self.stream.index_entries if entry.pos + entry.size > size)

    def promised_seconds(self) -> float | None:
        """Length of the video by its own header, where that is to be trusted (not in MP4: edit lists shorten it)."""
        if "mp4" in self._container.format.name:
            return None
        if self.stream.duration is not None and self.stream.time_base is not None:
            return float(self.stream.duration * self.stream.time_base)
        parts = self.stream.metadata.get("DURATION", "").split(":")  # Matroska and WebM
        if len(parts) != 3:
            return None
        try:
            return sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
        except ValueError:
            return None


def claims_of(container: Any, stream: Any, first: av.VideoFrame | None) -> VideoInfo:
    """What an opened container says about one of its video streams; orientation and start are its first frame's."""
    context = stream.codec_context
    orientation = orientation_of(first) if first is not None else UPRIGHT
    coded = (first.width, first.height) if first is not None else (context.width, context.height)
    width, height = _shown_size(coded[0], coded[1], stream.sample_aspect_ratio, orientation)
    duration = None
    if stream.duration is not None and stream.time_base is not None:
        duration = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration = container.duration / av.time_base
    claims = (stream.average_rate, stream.guessed_rate)
    rate = next((claim for claim in claims if claim and _RATES[0] <= claim <= _RATES[1]), Fraction(25))
    return VideoInfo(
        codec=context.codec.canonical_name,
        pixel_format=context.pix_fmt or "unknown",
        width=width,
        height=height,
        coded_size=coded,
        fps=float(rate),
        frames=stream.frames or None,
        start_s=float(first.time) if first is not None and first.time is not None else 0.0,
        duration_s=duration,
        orientation=orientation,
        has_audio=bool(container.streams.audio),
        constant_rate=container.metadata.get("comment") == CONSTANT_RATE_MARK,
    )


def probe(path: Path) -> VideoInfo:
    """What `path` says about itself. Raises `Quarantine` (zero_bytes, not_a_video, truncated, no_video_stream, …)."""
    with VideoReader(path) as reader:
        return reader.info


def count_frames(path: Path) -> int:
    """Frames that really decode, counted to the end of the file."""
    with VideoReader(path) as reader:
        return sum(1 for _ in reader)


def iter_frames(path: Path, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """Frames start..stop of any video, turned as the file asks: (h, w, 3) uint8 RGB, one in memory at a time."""
    convert = VideoReformatter()
    with VideoReader(path) as reader:
        numbered = reader.numbered_from(start) if start and reader.info.constant_rate else enumerate(reader)
        for index, frame in numbered:
            if stop is not None and index >= stop:
                return
            if index >= start:
                yield to_rgb(frame, convert)


def iter_constant_rate(path: Path, start: int, stop: int) -> Iterator[av.VideoFrame]:
    """Decoded frames start..stop (half-open) of a file that `VideoWriter` wrote, reached by seeking."""
    with VideoReader(path) as reader:
        for index, frame in reader.numbered_from(start):
            if index >= stop:
                return
            if index >= start:
                yield frame


def read_frames(path: Path, indices: Sequence[int] | slice | None = None) -> np.ndarray:
    """Frames of a video as (n, h, w, 3) uint8 RGB: all, a slice with bounds >= 0, or any indices in any order.

    Scattered indices of a constant-rate file go through decord, where there is a decord for this machine; everything
    else is decoded in order by PyAV, to the same pixels. Raises `IndexError` when a frame does not exist; a slice that
    reaches past the end is cut there.
    """
    if indices is None or isinstance(indices, slice):
        span = indices or slice(None)
        start, stop, step = span.start or 0, span.stop, span.step or 1
        if start < 0 or (stop is not None and stop < 0) or step < 1:
            raise IndexError(f"{path}: a slice of frames counts from the start, with a step >= 1; got {span}")
        frames = [image for i, image in enumerate(iter_frames(path, start, stop)) if i % step == 0]
        if not frames:
            raise IndexError(f"{path}: no frames in {span}")
        return np.stack(frames)
    wanted = [int(i) for i in indices]
    if not wanted or min(wanted) < 0:
        raise IndexError(f"{path}: expected frame numbers from 0 on, got {wanted}")
    if find_spec("decord") and probe(path).constant_rate:
        return _read_with_decord(path, wanted)
    found: dict[int, np.ndarray] = {}
    needed = set(wanted)
    for index, image in enumerate(iter_frames(path, stop=max(wanted) + 1)):
        if index in needed:
            found[index] = image
    if missing := needed - found.keys():
        raise IndexError(f"{path}: frame {min(missing)} does not exist; the video is shorter")
    return np.stack([found[i] for i in wanted])


def _read_with_decord(path: Path, indices: list[int]) -> np.ndarray:
    import decord  # only scattered reads need it

    reader = decord.VideoReader(str(path.absolute()), num_threads=1)  # relative names may read as addresses
    if max(indices) >= len(reader):
        raise IndexError(f"{path}: frame {max(indices)} does not exist; the video has {len(reader)}")
    return reader.get_batch(indices).asnumpy()


def to_rgb(frame: av.VideoFrame, convert: VideoReformatter | None = None) -> np.ndarray:
    """(h, w, 3) uint8 RGB, contiguous, turned as the file asks. Pass one `convert` for a whole video: it is reused."""
    image = (convert or VideoReformatter()).reformat(frame, format="rgb24").to_ndarray()
    return np.ascontiguousarray(orientation_of(frame).shown(image))


def _shown_size(width: int, height: int, sample_aspect: Fraction | None, orientation: Orientation) -> tuple[int, int]:
    """Width and height on screen of a coded frame: pixels made square by widening their short side, then turned.

    So no line and no column is lost, as mpv shows it; FFmpeg's `scale=iw*sar:ih` narrows the picture where pixels are
    narrow. Where a picture would come out too large for memory, the long side is narrowed instead.
    """
    if sample_aspect and sample_aspect > 0 and sample_aspect != 1:
        wider = (round(width * sample_aspect), height) if sample_aspect > 1 else (width, round(height / sample_aspect))
        if wider[0] * wider[1] <= MAX_SOURCE_PIXELS:
            width, height = wider
        elif sample_aspect < 1:
            width = max(1, round(width * sample_aspect))
        else:
            height = max(1, round(height / sample_aspect))
    return (height, width) if orientation.swaps_sides else (width, height)


def _video_stream(container: Any, path: Path) -> Any:
    name = printable(path)
    streams = moving_streams(container)
    context: Any = streams[0].codec_context if streams else None
    usable = context is not None and context.width > 0 and context.height > 0
    if not usable and index_is_cut_off(path):
        raise Quarantine("truncated", f"{name}: the file ends inside its index; fetch it again")
    if not streams:
        kinds = ", ".join(s.type for s in container.streams) or "none"
        raise Quarantine("no_video_stream", f"{name}: no video stream (streams: {kinds})")
    if not usable:
        raise Quarantine("no_decoder", f"{name}: its video has no known size or codec, so it cannot be decoded")
    if context.width * context.height > MAX_SOURCE_PIXELS:
        raise Quarantine(
            "too_large",
            f"{name}: claims {context.width}x{context.height} pixels, more than {MAX_SOURCE_PIXELS}; shrink it first",
        )
    return streams[0]
