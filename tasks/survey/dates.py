"""When the kept clips were recorded, as tables of footage say it: hours by year, oldest and newest by subject.

Only the column `recorded` tells it. What a video file says of its own creation is mostly when it was encoded, and is
not asked; clips without a date are counted as unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fye_model.config import Config
from tasks.survey.records import HeldClip, Holdings
from tasks.survey.words import length, plain


class SubjectDates(Config):
    """One subject's kept clips. oldest, newest: a day or a year, None where none of them has one."""

    subject: str
    oldest: str | None
    newest: str | None
    minutes: float
    minutes_unknown: float


class RecordingDates(Config):
    """The set's kept clips: year -> hours, the hours without a date, and every subject, the oldest first."""

    oldest: str | None
    newest: str | None
    hours_by_year: dict[str, float]
    hours_unknown: float
    subjects: tuple[SubjectDates, ...]


def recording_dates(holdings: Holdings) -> RecordingDates:
    """When a data set was recorded, as far as it is known."""
    seconds: dict[str | None, float] = defaultdict(float)
    by_subject: dict[str, list[HeldClip]] = defaultdict(list)
    for clip in holdings.kept:
        seconds[clip.recorded[:4] if clip.recorded else None] += clip.seconds
        by_subject[clip.subject].append(clip)
    oldest, newest = _ends(holdings.kept)
    subjects = [_of_subject(subject, clips) for subject, clips in by_subject.items()]
    return RecordingDates(
        oldest=oldest,
        newest=newest,
        hours_by_year={year: round(seconds[year] / 3600, 4) for year in sorted(filter(None, seconds))},
        hours_unknown=round(seconds.get(None, 0.0) / 3600, 4),
        subjects=tuple(sorted(subjects, key=lambda entry: (entry.oldest is None, entry.oldest or "", entry.subject))),
    )


def _of_subject(subject: str, clips: list[HeldClip]) -> SubjectDates:
    oldest, newest = _ends(clips)
    return SubjectDates(
        subject=subject,
        oldest=oldest,
        newest=newest,
        minutes=round(sum(clip.seconds for clip in clips) / 60, 2),
        minutes_unknown=round(sum(clip.seconds for clip in clips if clip.recorded is None) / 60, 2),
    )


def _ends(clips: Iterable[HeldClip]) -> tuple[str | None, str | None]:
    """The oldest and the newest date. A year alone may be any of its days: its first for the one, its last for the
    other."""
    dates = sorted({clip.recorded for clip in clips if clip.recorded})  # a year stands before its days
    return (dates[0], max(dates, key=lambda day: f"{day}-12-31"[:10])) if dates else (None, None)


def date_lines(dates: RecordingDates, most: int = 12) -> list[str]:
    """Markdown: hours by year, then at most `most` subjects; one line where no date is known, none without clips."""
    if not dates.subjects:
        return []
    if dates.oldest is None:
        return [
            f"When it was recorded: unknown, all of {length(dates.hours_unknown)}. A table of footage tells it in its "
            "column `recorded`."
        ]
    lines = ["| recorded in | length of the kept clips |", "|---|---:|"]
    lines += [f"| {year} | {length(hours)} |" for year, hours in dates.hours_by_year.items()]
    lines.append(f"| unknown | {length(dates.hours_unknown)} |")
    lines += ["", "| subject | oldest | newest | minutes | of unknown date |", "|---|---|---|---:|---:|"]
    for entry in dates.subjects[:most]:
        ends = f"{entry.oldest or 'unknown'} | {entry.newest or 'unknown'}"
        lines.append(f"| {plain(entry.subject)} | {ends} | {entry.minutes:.1f} | {entry.minutes_unknown:.1f} |")
    if len(dates.subjects) > most:
        lines.append(f"| … and {len(dates.subjects) - most} more | | | | |")
    return lines
