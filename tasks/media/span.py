"""A span of a source: how it is taken, what it holds as it is shown, and what was found in the file.

Damage is counted: frames that the decoder marks as damaged are left out and their neighbours shown longer. Up to
`max_corrupt_fraction` of damage the rest is kept (the record says how much was lost), above it the span is quarantined
as a whole. A file that ends too early is used as far as it goes, and the record says what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from fye_model.config import Config, FootageConfig
from tasks.engine.items import Quarantine
from tasks.media.audio import NoSoundError, SpanSound
from tasks.media.opening import printable
from tasks.media.read import DECODER
from tasks.media.shown import ShownVideo, ShowSettings


class SpanFacts(Config):
    """The span of a source that is taken, in seconds after its first frame; to its end without `end_s`."""

    start_s: float = 0.0
    end_s: float | None = None


class FrameFolderFacts(SpanFacts):
    """The same of a folder of pictures, `fps` of them a second."""

    fps: float


class TakenSpan(Config):
    """What a span holds at the rate and in the form in which it is shown, and what was found in the source."""

    frames: int
    fps: float
    width: int  # pixels, as shown
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


def show_settings(source: Path, config: FootageConfig, span: SpanFacts) -> ShowSettings:
    """How a span of a source is shown; ValueError for a span that is none."""
    start_s, end_s = span.start_s, span.end_s
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
        frames_fps=span.fps if isinstance(span, FrameFolderFacts) else config.fps,
    )


def judge(shown: ShownVideo, times: Sequence[float], max_corrupt_fraction: float) -> None:
    """Whether a span is to be used, once all its frames were taken; `times`: theirs.

    Raises `Quarantine` (corrupt, no_frames, one_frame, too_short). What is missing at the file's end is no damage.
    """
    damage, good, name = shown.damage(), shown.good, printable(shown.path)
    total = good + damage.inside
    if damage.inside > max_corrupt_fraction * total:
        raise Quarantine(
            "corrupt",
            f"{name}: {damage.inside} of {total} frames are lost ({damage.corrupt} damaged, {damage.refused} refused), "
            f"more than ingest.max_corrupt_fraction = {max_corrupt_fraction} allows; fetch it again",
        )
    if good == 0:
        lost = f"; {damage.missing} are missing" if damage.missing else ""
        raise Quarantine("no_frames", f"{name}: not one frame of its video can be decoded in this span{lost}")
    if good == 1:
        raise Quarantine("one_frame", f"{name}: a single picture, not a video")
    if len(times) < 2:
        raise Quarantine("too_short", f"{name}: only {len(times)} frames in this span; a clip needs more")


def open_sound(shown: ShownVideo, times: Sequence[float]) -> tuple[SpanSound | None, str | None]:
    """(the sound of the frames with these times, why it could not be read). Pictures are worth keeping without it."""
    if not shown.info.has_audio:
        return None, None
    try:
        sound = SpanSound(shown.path, times[0], times[0] + len(times) / shown.settings.fps)
    except NoSoundError:
        return None, "its sound cannot be decoded"
    if sound.is_silent():
        sound.close()
        return None, None
    return sound, None


def taken_span(shown: ShownVideo, times: Sequence[float], has_audio: bool, audio_problem: str | None) -> TakenSpan:
    """What is known of a span once all its frames were taken, `times` theirs, while its video is still open."""
    damage, info, shape, fps = shown.damage(), shown.info, shown.shape, shown.settings.fps
    return TakenSpan(
        frames=len(times),
        fps=fps,
        width=shape.width,
        height=shape.height,
        duration_s=len(times) / fps,
        start_s=times[0],
        has_audio=has_audio,
        audio_problem=audio_problem,
        corrupt_frames=damage.corrupt,
        refused_packets=damage.refused,
        missing_frames=damage.missing,
        unordered_frames=shown.unordered,
        interlaced_frames=shown.interlaced,
        held_frames=sum(held_frames(times)),
        source_frames=shown.good,
        source_fps=info.fps,
        source_codec=info.codec,
        source_format=info.pixel_format,
        source_width=info.width,
        source_height=info.height,
        mirrored=info.orientation.mirrored,
        rotation=info.orientation.rotation_deg,
        tone_mapped=shape.tone_mapped,
        notes=shown.notes(),
        decoder=DECODER,
    )


def held_frames(times: Sequence[float]) -> list[bool]:
    """Which frames repeat the one before them because the source has none for their instant."""
    return [False, *(a == b for a, b in zip(times[1:], times[:-1], strict=True))]
