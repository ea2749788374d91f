"""First stage: any source video becomes a normalised copy on which every later stage may rely.

The copy is the video as a player shows it (`tasks/media/shown.py`) at a constant rate, with even sides of at most
`max_side` and short groups of pictures, and its bytes depend only on the source and the settings. Damage is counted:
frames that the decoder marks as damaged are left out and their neighbours shown longer. Up to `max_corrupt_fraction` of
damage the rest of the video is kept (the row says how much was lost), above it the video is quarantined as a whole. A
file that ends too early is used as far as it goes, and the row says what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.config import Config, IngestConfig
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Item, Quarantine, Worker
from tasks.engine.stage import Context, Stage
from tasks.engine.store import FileRef
from tasks.media.audio import NoSoundError, write_audio
from tasks.media.opening import printable
from tasks.media.read import DECODER, VideoInfo
from tasks.media.shown import Damage, ShownVideo, ShowSettings
from tasks.media.write import VideoWriter
from tasks.workspace.sources import Source

_FRAMES_SCHEMA = "1"


class IngestFacts(Config):
    """The span of a source that is taken, in seconds after its first frame; to its end without `end_s`."""

    start_s: float = 0.0
    end_s: float | None = None


class FrameFolderFacts(IngestFacts):
    """The same of a folder of pictures, `fps` of them a second."""

    fps: float


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
    interlaced_frames: int  # deinterlaced
    held_frames: int  # repeat the frame before them
    source_frames: int
    source_fps: float
    source_codec: str
    source_format: str
    source_width: int
    source_height: int
    mirrored: bool  # left and right changed sides, before it was turned
    rotation: int  # degrees counter-clockwise that made it upright
    tone_mapped: str | None
    notes: tuple[str, ...]  # what is to be known about the file, in words
    decoder: str


class IngestWorker(Worker[IngestFacts, IngestRow]):
    """Normalises sources one by one; holds no state between them."""

    def __init__(self, settings: IngestConfig, context: Context) -> None:
        self.config = settings

    def process(self, item: Given[IngestFacts]) -> IngestRow:
        """Write video.mp4, frames.parquet and, where there is sound, audio.flac of `source`. Raises `Quarantine`."""
        source = item.files["source"]
        try:
            fps = item.facts.fps if isinstance(item.facts, FrameFolderFacts) else None
            return normalise(source, item.out, self.config, item.facts.start_s, item.facts.end_s, fps)
        except Quarantine as error:  # messages must not depend on where the file lies
            advice = ", or raise ingest.max_hold_s" if error.reason == "time_gap" else ""
            raise Quarantine(error.reason, error.message.replace(printable(source), item.name) + advice) from None


def normalise(
    source: Path,
    out: Path,
    config: IngestConfig,
    start_s: float = 0.0,
    end_s: float | None = None,
    fps: float | None = None,
) -> IngestRow:
    """Write the normalised copy of `source` (or of a span of it) into the folder `out`; returns the row.

    `fps`: of a source that is a folder of pictures.

    frames.parquet holds, for every frame of video.mp4, `time_s` (float64, the source's clock) and `held` (bool: repeats
    the frame before it because the source has none for this instant). audio.flac starts with frame 0 to the sample.
    """
    how = _how(source, config, start_s, end_s, fps)
    with ShownVideo(source, how) as shown:
        info, shape = shown.info, shown.shape
        times = _write(shown, out / "video.mp4", config)
        damage, notes = shown.damage(), shown.notes()
    _judge(source, shown.good, damage, config.max_corrupt_fraction)
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
        unordered_frames=shown.unordered,
        interlaced_frames=shown.interlaced,
        held_frames=sum(held),
        source_frames=shown.good,
        source_fps=info.fps,
        source_codec=info.codec,
        source_format=info.pixel_format,
        source_width=info.width,
        source_height=info.height,
        mirrored=info.orientation.mirrored,
        rotation=info.orientation.rotation_deg,
        tone_mapped=shape.tone_mapped,
        notes=notes,
        decoder=DECODER,
    )


def _how(source: Path, config: IngestConfig, start_s: float, end_s: float | None, fps: float | None) -> ShowSettings:
    """How a span of a source is shown; ValueError for a span that is none."""
    if start_s < 0 or (end_s is not None and end_s <= start_s):
        raise ValueError(f"{source}: expected 0 <= start_s < end_s, got {start_s} and {end_s}")
    if config.max_seconds is not None:
        end_s = min(end_s or math.inf, start_s + config.max_seconds)
    return ShowSettings(
        fps=config.fps,
        max_side=config.max_side,
        start_s=start_s,
        end_s=end_s,
        max_hold_s=config.max_hold_s,
        frames_fps=fps or config.fps,
    )


def _judge(source: Path, good: int, damage: Damage, allowed: float) -> None:
    """Quarantine a source with too much damage, or with nothing in it. What is missing at its end is no damage."""
    total, name = good + damage.inside, printable(source)
    if damage.inside > allowed * total:
        raise Quarantine(
            "corrupt",
            f"{name}: {damage.inside} of {total} frames are lost ({damage.corrupt} damaged, {damage.refused} refused), "
            f"more than ingest.max_corrupt_fraction = {allowed} allows; fetch it again",
        )
    if good == 0:
        lost = f"; {damage.missing} are missing" if damage.missing else ""
        raise Quarantine("no_frames", f"{name}: not one frame of its video can be decoded in this span{lost}")
    if good == 1:
        raise Quarantine("one_frame", f"{name}: a single picture, not a video")


def _write(shown: ShownVideo, path: Path, config: IngestConfig) -> list[float]:
    """Source times of the frames written to `path`; none when the source has no frames."""
    times: list[float] = []
    frames = shown.frames()
    start = next(frames, None)
    if start is None:
        return times
    width, height, colorspace = shown.shape.width, shown.shape.height, shown.shape.colorspace
    with VideoWriter(path, width, height, config.fps, crf=config.crf, gop=config.gop, colorspace=colorspace) as writer:
        for time_s, frame in chain((start,), frames):
            writer.write_frame(frame)
            times.append(time_s)
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
    """The sources that can be taken as items, each with its span."""
    return [
        Item(
            id=source.id,
            name=source.name,
            inputs={"source": FileRef(source.path, source.sha256, source.size)},
            facts=_facts(source),
        )
        for source in sources
        if source.problem is None
    ]


def _facts(source: Source) -> IngestFacts:
    if source.fps is None:
        return IngestFacts(start_s=source.start_s, end_s=source.end_s)
    return FrameFolderFacts(start_s=source.start_s, end_s=source.end_s, fps=source.fps)


INGEST = Stage(
    "ingest",
    "3",
    settings=lambda recipe: recipe.ingest,
    reads={"source": Kind.SOURCE},
    writes={"video.mp4": Kind.VIDEO, "frames.parquet": Kind.FRAME_TIMES, "audio.flac?": Kind.SOUND},
    row=IngestRow,
    open=IngestWorker,
    resources=Resources(memory_gib=1.0),
    tools=("av",),
)
