"""First stage: any source video becomes a normalised copy on which every later stage may rely.

The copy has a constant rate (frames picked by timestamp), upright square pixels, even sides of at most `max_side`,
short groups of pictures and 4:2:0 colours of limited range, and its bytes depend only on the source and the settings.
Damage is counted. Frames that the decoder marks as damaged are left out and their neighbours shown longer; packets that
it refuses and frames that the file promises and does not hold count as damage too. Up to `max_corrupt_fraction` of
damage the rest of the video is kept (the row says how much was lost), above it the video is quarantined as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import av
import pyarrow as pa
import pyarrow.parquet as pq
from av.video.reformatter import VideoReformatter

from fye_model.config import Config, IngestConfig
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Item, Quarantine, Worker
from tasks.engine.stage import Context, Stage
from tasks.engine.store import FileRef
from tasks.media.audio import NoSoundError, write_audio
from tasks.media.planes import cut, resize, turn
from tasks.media.read import DECODER, VideoInfo, VideoReader
from tasks.media.write import BT709, LIMITED_RANGE, VideoWriter
from tasks.workspace.sources import Source

BT601 = 6  # as tagged; also how untagged video is read, here as in every FFmpeg reader
_UNTAGGED_OR_601 = (0, 2, 5, 6)
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_FRAMES_SCHEMA = "1"
_PROMISE_SLACK_S = 0.25  # headers round, and count the time before the first frame
T = TypeVar("T")


class IngestFacts(Config):
    """The span of a source that is taken, in seconds after its first frame; to its end without `end_s`."""

    start_s: float = 0.0
    end_s: float | None = None


class IngestRow(Config):
    """What is in video.mp4, and what was found in the source."""

    frames: int
    fps: float
    width: int  # pixels, of video.mp4
    height: int
    duration_s: float
    start_s: float  # of its first frame, on the source's clock
    has_audio: bool
    audio_problem: str | None
    corrupt_frames: int
    refused_packets: int
    missing_frames: int
    unordered_frames: int
    interlaced_frames: int
    held_frames: int  # repeat the frame before them
    source_frames: int
    source_fps: float
    source_codec: str
    source_format: str
    source_width: int
    source_height: int
    rotation: int  # degrees counter-clockwise that made it upright
    tone_mapped: str | None
    decoder: str


class IngestWorker(Worker[IngestFacts, IngestRow]):
    """Normalises sources one by one; holds no state between them."""

    def __init__(self, settings: IngestConfig, context: Context) -> None:
        self.config = settings

    def process(self, item: Given[IngestFacts]) -> IngestRow:
        """Write video.mp4, frames.parquet and, where there is sound, audio.flac of `source`. Raises `Quarantine`."""
        source = item.files["source"]
        try:
            return normalise(source, item.out, self.config, item.facts.start_s, item.facts.end_s)
        except Quarantine as error:  # messages must not depend on where the file lies
            raise Quarantine(error.reason, error.message.replace(str(source), item.name)) from None


def normalise(
    source: Path, out: Path, config: IngestConfig, start_s: float = 0.0, end_s: float | None = None
) -> IngestRow:
    """Write the normalised copy of `source` (or of a span of it) into the folder `out`; returns the row.

    frames.parquet holds, for every frame of video.mp4, `time_s` (float64, the source's clock) and `held` (bool: repeats
    the frame before it because the source has none for this instant). audio.flac starts with frame 0 to the sample.
    """
    if start_s < 0 or (end_s is not None and end_s <= start_s):
        raise ValueError(f"{source}: expected 0 <= start_s < end_s, got {start_s} and {end_s}")
    if config.max_seconds is not None:
        end_s = min(end_s or math.inf, start_s + config.max_seconds)
    video = out / "video.mp4"
    with VideoReader(source) as reader:
        info = reader.info
        frames = _SourceFrames(reader, info, start_s, end_s, config.max_hold_s)
        shape = _Shape(info, config.max_side)
        times = _write(frames, video, shape, config)
        damage = frames.damage()
    _judge(source, frames, damage, config.max_corrupt_fraction)
    if len(times) < 2:
        raise Quarantine("too_short", f"{source}: only {len(times)} frames in this span; a clip needs more")
    held = [False, *(a == b for a, b in zip(times[1:], times[:-1], strict=True))]
    _write_times(out / "frames.parquet", times, held)
    duration = len(times) / config.fps
    audio, problem = _copy_audio(source, out / "audio.flac", info, times[0], times[0] + duration)
    return IngestRow(
        frames=len(times),
        fps=config.fps,
        width=shape.width,
        height=shape.height,
        duration_s=duration,
        start_s=times[0],
        has_audio=audio,
        audio_problem=problem,
        corrupt_frames=damage.corrupt,
        refused_packets=damage.refused,
        missing_frames=damage.missing,
        unordered_frames=frames.unordered,
        interlaced_frames=frames.interlaced,
        held_frames=sum(held),
        source_frames=frames.good,
        source_fps=info.fps,
        source_codec=info.codec,
        source_format=info.pixel_format,
        source_width=info.width,
        source_height=info.height,
        rotation=info.rotation,
        tone_mapped=shape.tone_mapped,
        decoder=DECODER,
    )


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


@dataclass(frozen=True)
class _Damage:
    corrupt: int  # frames that the decoder marked
    refused: int  # packets that it could not decode
    missing: int  # frames that the file promises and does not hold


class _SourceFrames:
    """Good frames of a span of the source as (time, duration, frame), seconds of the source's clock."""

    def __init__(
        self, reader: VideoReader, info: VideoInfo, start_s: float, end_s: float | None, max_hold_s: float
    ) -> None:
        self.reader = reader
        self.good = self.unordered = self.interlaced = 0
        self._info, self._start, self._end, self._max_hold = info, start_s, end_s, max_hold_s
        self._last_end: float | None = None  # of the whole source; known when it was read to its end

    def __iter__(self) -> Iterator[tuple[float, float, av.VideoFrame]]:
        first_s = self._info.start_s
        start, end = first_s + self._start, math.inf if self._end is None else first_s + self._end
        if self._start > 0:
            self.reader.seek_time(start)
        nominal, last = 1 / self._info.fps, -math.inf
        for frame in self.reader:
            time = last + nominal if frame.time is None else float(frame.time)
            duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else nominal
            if frame.is_corrupt or time < start - 1e-6:
                continue
            if time >= end - 1e-6:
                return
            if not math.isfinite(time) or time <= last:
                self.unordered += 1
                continue
            if time - last > self._max_hold and self.good:
                raise Quarantine(
                    "time_gap",
                    f"{self.reader.path}: no picture from {last - first_s:.2f} s to {time - first_s:.2f} s; at most "
                    f"{self._max_hold} s is bridged (ingest.max_hold_s). Cut the video in two there, or raise that",
                )
            last = time
            self.good += 1
            self.interlaced += bool(frame.interlaced_frame)
            yield time, min(duration, self._max_hold, end - time), frame
        self._last_end = last + nominal

    def damage(self) -> _Damage:
        """Counted after the frames were read; frames are only missed when the source was read to its end."""
        missing = 0
        if self._last_end is not None:
            missing = self.reader.cut_off_frames()
            promised = self.reader.promised_seconds()
            if promised is not None:
                lost = promised - (self._last_end - self._info.start_s)
                missing = max(missing, round(lost * self._info.fps) if lost > _PROMISE_SLACK_S else 0)
        return _Damage(self.reader.corrupt_frames, self.reader.refused_packets, missing)


def _judge(source: Path, frames: _SourceFrames, damage: _Damage, allowed: float) -> None:
    """Quarantine a source with too much damage, or with nothing in it."""
    total = frames.good + damage.corrupt + damage.refused + damage.missing
    lost = damage.corrupt + damage.refused + damage.missing
    if lost > allowed * total:
        reason = "truncated" if damage.missing > lost / 2 else "corrupt"
        raise Quarantine(
            reason,
            f"{source}: {lost} of {total} frames are lost ({damage.missing} missing, {damage.corrupt} damaged, "
            f"{damage.refused} refused), more than ingest.max_corrupt_fraction = {allowed} allows; fetch it again",
        )
    if frames.good == 0:
        raise Quarantine("no_frames", f"{source}: not one frame of its video can be decoded in this span")
    if frames.good == 1:
        raise Quarantine("one_frame", f"{source}: a single picture, not a video")


class _Shape:
    """From a decoded frame to the normalised one: one rescale at most, then an even cut and quarter turns."""

    def __init__(self, info: VideoInfo, max_side: int) -> None:
        scale = min(1.0, max_side / max(info.width, info.height))
        self.width, self.height = (int(round(side * scale, 3)) // 2 * 2 for side in (info.width, info.height))
        self.rotation = info.rotation
        self.tone_mapped: str | None = None
        self.colorspace = BT709
        self._coded = info.coded_size
        exact = scale == 1.0 and sorted((info.width, info.height)) == sorted(info.coded_size)
        lying = info.rotation // 90 % 2
        self._cut = (self.height, self.width) if lying else (self.width, self.height)
        # rescaled frames get their even size at once; others lose at most one row and one column
        self._scaled = info.coded_size if exact else self._cut
        self._convert = VideoReformatter()

    def begin(self, frame: av.VideoFrame) -> None:
        """Settle the colour space by the first frame."""
        self.colorspace = BT601 if frame.colorspace in _UNTAGGED_OR_601 and "rgb" not in frame.format.name else BT709
        self.tone_mapped = _HDR_TRANSFERS.get(frame.color_trc)

    def __call__(self, frame: av.VideoFrame, source: Path) -> av.VideoFrame:
        width, height = self._coded
        if abs(frame.width * height - frame.height * width) > 0.01 * width * frame.height:
            raise Quarantine(
                "size_changes", f"{source}: changes from {width}x{height} to {frame.width}x{frame.height} on the way"
            )
        ready = (frame.width, frame.height) == self._scaled and frame.format.name == "yuv420p"
        same_colours = frame.colorspace == self.colorspace or (
            self.colorspace == BT601 and frame.colorspace in _UNTAGGED_OR_601
        )
        if not (ready and same_colours and frame.color_range != 2 and not self.tone_mapped):
            frame = resize(frame, *self._scaled, self._convert)
            to = {"dst_color_trc": BT709, "dst_color_primaries": BT709} if self.tone_mapped else {}
            frame = self._convert.reformat(
                frame, format="yuv420p", dst_colorspace=self.colorspace, dst_color_range=LIMITED_RANGE, **to
            )
        return turn(cut(frame, 0, 0, *self._cut), self.rotation)


def _write(frames: _SourceFrames, path: Path, shape: _Shape, config: IngestConfig) -> list[float]:
    """Source times of the frames written to `path`; none when the source has no frames."""
    times: list[float] = []
    shown: tuple[float, av.VideoFrame] | None = None
    picked = at_constant_rate(frames, config.fps)
    start = next(picked, None)
    if start is None or min(shape.width, shape.height) < 2:
        return times
    shape.begin(start[1])
    with VideoWriter(
        path, shape.width, shape.height, config.fps, crf=config.crf, gop=config.gop, colorspace=shape.colorspace
    ) as writer:
        for time, frame in (item for part in ((start,), picked) for item in part):
            if shown is None or shown[0] != time:
                shown = time, shape(frame, frames.reader.path)
            writer.write_frame(shown[1])
            times.append(time)
    return times


def _write_times(path: Path, times: list[float], held: list[bool]) -> None:
    table = pa.table({"time_s": pa.array(times, pa.float64()), "held": pa.array(held, pa.bool_())})
    metadata = {"schema_version": _FRAMES_SCHEMA, "time_s": "seconds of the source's clock"}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def _copy_audio(source: Path, path: Path, info: VideoInfo, start: float, end: float) -> tuple[bool, str | None]:
    """(whether there is sound in the span, why it could not be read). Pictures are worth keeping without it."""
    if not info.has_audio:
        return False, None
    try:
        return write_audio(source, path, start, end) > 0, None
    except NoSoundError:
        return False, "its sound cannot be decoded"


def ingest_items(sources: Iterable[Source]) -> list[Item[IngestFacts]]:
    """The readable sources as items."""
    return [
        Item(
            id=source.id,
            name=source.name,
            inputs={"source": FileRef(source.path, source.sha256, source.size)},
            facts=IngestFacts(),
        )
        for source in sources
        if source.problem is None
    ]


INGEST = Stage(
    "ingest",
    "1",
    settings=lambda recipe: recipe.ingest,
    reads={"source": Kind.SOURCE},
    writes={"video.mp4": Kind.VIDEO, "frames.parquet": Kind.FRAME_TIMES, "audio.flac?": Kind.SOUND},
    row=IngestRow,
    open=IngestWorker,
    resources=Resources(memory_gib=1.0),
    tools=("av",),
)
