"""A data set in numbers: from the files that were found to the clips that train; hours, subjects, bytes, sizes."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import Field

from fye_model.config import Config
from tasks.survey.coverage import AspectCoverage, Coverage
from tasks.survey.named import NamedRecording
from tasks.survey.records import Holdings
from tasks.survey.words import length, plain

_SIDES = (360, 480, 720, 1080, 2160)  # classes of the shorter side of a source, in pixels


class FunnelLine(Config):
    """What was left after a step, and what was lost in it: reason -> how many."""

    step: str
    count: int
    what: str
    lost: dict[str, int]


class SubjectLine(Config):
    """One subject's clips; `expressions`: of those that can be told, how many are shown long enough."""

    subject: str
    clips: int
    kept: int
    minutes: float
    expressions: int
    expressions_of: int


class DatasetStats(Config):
    """What `fye stats` tells; `--json` prints it as it is."""

    schema_version: int = Field(1, alias="schema")
    work: str
    recipe: str
    landmark_model: str
    run_started: str
    hours_of_sources: float
    hours_of_clips: float
    hours_kept: float
    subjects: tuple[SubjectLine, ...]
    funnel: tuple[FunnelLine, ...]
    decided_by_hand: int
    bytes_by_stage: dict[str, int]
    source_sizes: dict[str, int]
    face_px: tuple[float, float, float] | None  # 10th, 50th, 90th percentile over the kept clips, see `HeldClip`
    aspects: tuple[AspectCoverage, ...]
    named: tuple[NamedRecording, ...]


def dataset_stats(holdings: Holdings, coverage: Coverage, named: Sequence[NamedRecording]) -> DatasetStats:
    """The numbers of a data set."""
    shorter = [min(source.width, source.height) for source in holdings.sources]
    sizes = Counter(
        next((f"below {most}" for most in _SIDES if side < most), f"{_SIDES[-1]} and more") for side in shorter
    )
    faces = [clip.face_px for clip in holdings.kept]
    spread = [round(float(value), 1) for value in np.percentile(faces, (10, 50, 90))] if faces else None
    return DatasetStats(
        schema=1,
        work=holdings.store.url,
        recipe=holdings.recipe,
        landmark_model=holdings.landmark_model,
        run_started=holdings.started,
        hours_of_sources=_hours(source.seconds for source in holdings.sources),
        hours_of_clips=_hours(clip.seconds for clip in holdings.clips),
        hours_kept=_hours(clip.seconds for clip in holdings.kept),
        subjects=_subjects(holdings, coverage),
        funnel=_funnel(holdings),
        decided_by_hand=sum(clip.by_hand for clip in holdings.clips),
        bytes_by_stage=dict(holdings.bytes_by_stage),
        source_sizes=dict(sorted(sizes.items(), key=lambda pair: int(re.sub(r"\D", "", pair[0])))),
        face_px=None if spread is None else (spread[0], spread[1], spread[2]),
        aspects=coverage.aspects,
        named=tuple(named),
    )


def _hours(seconds: Iterable[float]) -> float:
    return round(sum(seconds) / 3600, 4)


def _subjects(holdings: Holdings, coverage: Coverage) -> tuple[SubjectLine, ...]:
    told = [aspect.aspect for aspect in coverage.aspects if aspect.group == "expression" and aspect.told]
    clips = Counter(clip.subject for clip in holdings.clips)
    kept = Counter(clip.subject for clip in holdings.kept)
    lines = []
    for subject in sorted(clips):
        missing = set(coverage.missing(subject)) if subject in coverage.subjects else set(told)
        lines.append(
            SubjectLine(
                subject=subject,
                clips=clips[subject],
                kept=kept[subject],
                minutes=coverage.minutes.get(subject, 0.0),
                expressions=sum(name not in missing for name in told),
                expressions_of=len(told),
            )
        )
    return tuple(lines)


def _funnel(holdings: Holdings) -> tuple[FunnelLine, ...]:
    """From the files to the clips that train. Tracks are lost on the way from sources to clips and counted there."""
    readable = {source.source for source in holdings.sources}
    aside: dict[str, Counter[str]] = defaultdict(Counter)
    for row in holdings.set_aside:
        aside["no clip" if row.stage == "clips" and row.item in readable else row.stage][row.reason] += 1
    cut_from = sum(source.clips > 0 for source in holdings.sources)
    found = len(readable) + aside["scan"].total() + aside["clips"].total()
    tracks = Counter(f"{track.reason} (a face track)" for track in holdings.tracks)
    lines = [
        FunnelLine(step="found", count=found, what="files", lost={}),
        FunnelLine(step="readable", count=len(readable), what="files", lost=aside["scan"] + aside["clips"]),
        FunnelLine(step="with a face", count=cut_from, what="files", lost=aside["no clip"]),
        FunnelLine(step="cut", count=len(holdings.clips) + aside["landmarks"].total(), what="clips", lost=tracks),
        FunnelLine(step="with landmarks", count=len(holdings.clips), what="clips", lost=aside["landmarks"]),
    ]
    rules = {step.rule: step.lost for step in holdings.funnel if step.lost}
    lines.append(FunnelLine(step="kept", count=len(holdings.kept), what="clips", lost=rules))
    return tuple(lines)


def stats_lines(stats: DatasetStats, most: int = 20) -> list[str]:
    """The numbers as Markdown, at most `most` subjects; coverage is told apart."""
    lines = [
        f"{length(stats.hours_kept)} of {length(stats.hours_of_clips)} of clips are kept, out of "
        f"{length(stats.hours_of_sources)} of videos; subjects: {sum(line.kept > 0 for line in stats.subjects)}; "
        f"landmark model {stats.landmark_model}.",
        "",
        "| step | left | lost |",
        "|---|---:|---|",
    ]
    for line in stats.funnel:
        lost = ", ".join(f"{reason}: {count}" for reason, count in sorted(line.lost.items(), key=lambda pair: -pair[1]))
        lines.append(f"| {line.step} | {line.count} {line.what} | {lost} |")
    if stats.decided_by_hand:
        lines += ["", f"Decided by hand: {stats.decided_by_hand} clips (decisions.json)."]
    lines += ["", "| subject | clips | kept | minutes | expressions |", "|---|---:|---:|---:|---:|"]
    for entry in sorted(stats.subjects, key=lambda entry: -entry.minutes)[:most]:
        shown = f"{entry.expressions} of {entry.expressions_of}"
        lines.append(f"| {plain(entry.subject)} | {entry.clips} | {entry.kept} | {entry.minutes:.1f} | {shown} |")
    if len(stats.subjects) > most:
        lines.append(f"| … and {len(stats.subjects) - most} more | | | | |")
    sides = ", ".join(f"{name} px: {count}" for name, count in stats.source_sizes.items())
    lines += ["", f"Shorter side of the videos: {sides or 'none'}."]
    if stats.face_px is not None:
        low, middle, high = stats.face_px
        lines.append(f"Height of the faces in them: {low:.0f} to {high:.0f} px, median {middle:.0f}.")
    sizes = ", ".join(f"{stage} {size / 1e6:.1f} MB" for stage, size in stats.bytes_by_stage.items())
    lines.append(f"On disk: {sizes}.")
    return lines
