"""A normalised copy of a video, for whoever reads its frames again and again: a bench's drivers are cut from one.

The copy is the video as a player shows it (`tasks/media/shown.py`) at a constant rate, with even sides of at most
`max_side` and short groups of pictures. Its bytes depend only on the source and the settings. A run makes none: its
clips are cut from the source itself (`tasks/clips.py`).
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from fye_model.config import IngestConfig
from tasks.media.shown import ShownVideo
from tasks.media.span import SpanFacts, TakenSpan, judge, open_sound, show_settings, taken_span
from tasks.media.write import VideoWriter

WHOLE = SpanFacts()


def normalise(source: Path, copy: Path, config: IngestConfig, span: SpanFacts = WHOLE) -> tuple[TakenSpan, list[float]]:
    """Write the copy of a span of `source`, without its sound; returns what it holds and its frames' times.

    Times are in seconds of the source's clock. Raises `Quarantine` for what is no video or too damaged; a copy may then
    be left.
    """
    with ShownVideo(source, show_settings(source, config, span)) as shown:
        times = _write(shown, copy, config)
        judge(shown, times, config.max_corrupt_fraction)
        sound, problem = open_sound(shown, times)
        if sound is not None:
            sound.close()
        return taken_span(shown, times, sound is not None, problem), times


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
