"""Which expressions, poses and directions of gaze the kept clips show, subject by subject, and what is lacking."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from fye_model.config import Config
from fye_model.landmarks.aspects import ASPECTS, Aspect, SeenFace
from tasks.survey.records import HeldClip, Holdings
from tasks.survey.words import plain

ENOUGH_S = 1.0  # an aspect that a subject shows for less is one to record again


class ClipCoverage(Config):
    """Of one clip: aspect -> seconds, and aspect -> the highest value that it holds. Aspects that cannot be told are
    left out of both."""

    clip: str
    subject: str
    seconds: dict[str, float]
    strongest: dict[str, float]


class AspectCoverage(Config):
    """Of one aspect over the whole set: in how many of the subjects it is shown for `ENOUGH_S` and more."""

    aspect: str
    group: str
    label: str
    told: bool
    seconds: float
    subjects: int
    of: int
    lacking: tuple[str, ...]


class Coverage(Config):
    """The set: every aspect, and per subject the seconds of each."""

    aspects: tuple[AspectCoverage, ...]
    subjects: dict[str, dict[str, float]]
    minutes: dict[str, float]  # subject -> of kept clips

    def missing(self, subject: str) -> list[str]:
        """The aspects that can be told and that this subject does not show enough, rarest in the set first."""
        rare = sorted((aspect for aspect in self.aspects if aspect.told), key=lambda aspect: aspect.subjects)
        return [aspect.aspect for aspect in rare if self.subjects[subject].get(aspect.aspect, 0.0) < ENOUGH_S]


def cover_clip(holdings: Holdings, clip: HeldClip) -> ClipCoverage:
    """What one clip shows, by its landmark table."""
    face = SeenFace.read(holdings.store.local_path(clip.landmarks))
    readable = [aspect for aspect in ASPECTS if aspect.readable(face)]
    return ClipCoverage(
        clip=clip.clip,
        subject=clip.subject,
        seconds={aspect.name: round(aspect.seconds(face), 3) for aspect in readable},
        strongest={aspect.name: round(aspect.strongest(face), 3) for aspect in readable},
    )


def cover(holdings: Holdings, clips: Iterable[ClipCoverage]) -> Coverage:
    """The kept clips' coverage, put together."""
    seconds: dict[str, dict[str, float]] = {subject: defaultdict(float) for subject in holdings.subjects}
    told: set[str] = set()
    for clip in clips:
        told |= clip.seconds.keys()
        for aspect, value in clip.seconds.items():
            seconds[clip.subject][aspect] += value
    minutes: dict[str, float] = defaultdict(float)
    for held in holdings.kept:
        minutes[held.subject] += held.seconds / 60
    rounded = {subject: {name: round(value, 2) for name, value in found.items()} for subject, found in seconds.items()}
    return Coverage(
        aspects=tuple(_over_subjects(aspect, rounded, aspect.name in told) for aspect in ASPECTS),
        subjects=rounded,
        minutes={subject: round(value, 2) for subject, value in sorted(minutes.items())},
    )


def _over_subjects(aspect: Aspect, seconds: Mapping[str, Mapping[str, float]], told: bool) -> AspectCoverage:
    shown = {subject: found.get(aspect.name, 0.0) for subject, found in seconds.items()}
    lacking = tuple(subject for subject, value in shown.items() if value < ENOUGH_S) if told else ()
    return AspectCoverage(
        aspect=aspect.name,
        group=aspect.group,
        label=aspect.label,
        told=told,
        seconds=round(sum(shown.values()), 2),
        subjects=len(shown) - len(lacking) if told else 0,
        of=len(shown),
        lacking=lacking,
    )


def as_rows(coverage: Coverage) -> Iterator[AspectCoverage]:
    """The aspects for a table: a kind of which the landmark model tells nothing is one row of all its aspects."""
    for kind, members in groupby(coverage.aspects, key=lambda aspect: aspect.group):
        aspects = list(members)
        if any(aspect.told for aspect in aspects):
            yield from aspects
        else:
            yield aspects[0].model_copy(update={"aspect": kind, "label": f"all {len(aspects)}"})


def coverage_lines(coverage: Coverage, most: int = 12) -> list[str]:
    """The coverage as Markdown: a table of the aspects, then what to record next, at most `most` subjects, or none."""
    lines = ["| | what | seconds | subjects | lacking |", "|---|---|---:|---:|---|"]
    for aspect in as_rows(coverage):
        if not aspect.told:
            lines.append(f"| {aspect.group} | {aspect.label} | – | – | cannot be told with this landmark model |")
            continue
        more = len(aspect.lacking) - 3
        names = ", ".join(plain(name) for name in aspect.lacking[:3]) + (f" and {more} more" if more > 0 else "")
        shown = f"{aspect.subjects} of {aspect.of}"
        lines.append(f"| {aspect.group} | {aspect.label} | {aspect.seconds:.1f} | {shown} | {names or 'nobody'} |")
    if not most:
        return lines
    lines += ["", f"What to record next (shown for less than {ENOUGH_S:g} s; the rarest in the set first):", ""]
    by_need = sorted(coverage.subjects, key=lambda subject: -len(coverage.missing(subject)))
    lines += [f"- {_wanted(coverage, subject)}" for subject in by_need[:most]]
    if len(by_need) > most:
        lines.append(f"- … and {len(by_need) - most} more subjects")
    return lines


def _wanted(coverage: Coverage, subject: str) -> str:
    known = {aspect.aspect: aspect for aspect in coverage.aspects}
    groups: dict[str, list[str]] = defaultdict(list)
    for name in coverage.missing(subject):
        groups[known[name].group].append(known[name].label)
    text = "; ".join(f"{group}s: {', '.join(labels)}" for group, labels in sorted(groups.items()))
    return f"**{plain(subject)}** ({coverage.minutes.get(subject, 0.0):.1f} min): {text or 'nothing'}"
