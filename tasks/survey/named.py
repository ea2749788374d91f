"""Recordings that are named after an expression, checked against what their blendshapes say.

A captured subject's folder holds `<expression>.mp4` for each of eighteen expressions (`datasets/captured`), numbered
where there are several. A wrong name, or a subject who did not do it, is found here and not after training.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

from fye_model.config import Config
from fye_model.landmarks.aspects import EXPRESSIONS
from tasks.footage.card import TALKING
from tasks.survey.coverage import ClipCoverage
from tasks.survey.records import HeldClip
from tasks.survey.words import plain

_BY_NAME = {aspect.name: aspect for aspect in EXPRESSIONS}
_LONGEST_FIRST = sorted(_BY_NAME, key=len, reverse=True)

Said = Literal["shown", "weak", "cannot_be_told", "not_recorded", "no_clip_kept"]


class NamedRecording(Config):
    """What became of one expression of one captured subject: the highest value held, and the one that is needed.

    shown: as strong as it must be; weak: not; cannot_be_told: the landmark model is silent about it; not_recorded: no
    source of this name; no_clip_kept: all of its clips were rejected. `looks_like`: what a weak one shows instead.
    """

    subject: str
    expression: str
    said: Said
    strongest: float | None = None
    needed: float | None = None
    looks_like: tuple[str, ...] = ()


def expression_of(source: str, subject: str) -> str | None:
    """The expression that a source is named after, `talking`, or None: `anna-crossed_eyes-2` of anna, for instance."""
    name = source.removeprefix(f"{subject}-").lower()
    name = re.sub(r"[\s-]+", "_", name).strip("_")
    for known in (*_LONGEST_FIRST, TALKING):
        if re.fullmatch(rf"(?:.*_)?{known}(?:_?\d+)?", name):
            return known
    return None


def check_named(clips: Iterable[HeldClip], coverage: Iterable[ClipCoverage]) -> list[NamedRecording]:
    """Every expression of every captured subject: of those who have at least one source named after an expression."""
    seen = {entry.clip: entry for entry in coverage}
    recorded: dict[str, dict[str, list[HeldClip]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        named = clip.take or expression_of(clip.source, clip.subject)
        if named in _BY_NAME:
            recorded[clip.subject][named].append(clip)
    return [
        _check(subject, name, recorded[subject].get(name, []), seen)
        for subject in sorted(recorded)
        for name in _BY_NAME
    ]


def _check(subject: str, name: str, clips: list[HeldClip], seen: dict[str, ClipCoverage]) -> NamedRecording:
    aspect = _BY_NAME[name]
    if not clips:
        return NamedRecording(subject=subject, expression=name, said="not_recorded")
    found = [seen[clip.clip] for clip in clips if clip.kept and clip.clip in seen]
    if not found:
        return NamedRecording(subject=subject, expression=name, said="no_clip_kept")
    if not any(name in entry.strongest for entry in found):
        return NamedRecording(subject=subject, expression=name, said="cannot_be_told")
    strongest = max(entry.strongest[name] for entry in found)
    shown = strongest >= aspect.at_least
    return NamedRecording(
        subject=subject,
        expression=name,
        said="shown" if shown else "weak",
        strongest=strongest,
        needed=aspect.at_least,
        looks_like=() if shown else _most(found),
    )


def _most(found: list[ClipCoverage], most: int = 2) -> tuple[str, ...]:
    """The expressions that these clips show longest."""
    seconds: dict[str, float] = defaultdict(float)
    for entry in found:
        for name in _BY_NAME:
            seconds[name] += entry.seconds.get(name, 0.0)
    ranked = sorted((name for name in seconds if seconds[name] > 0), key=lambda name: -seconds[name])
    return tuple(ranked[:most])


def named_lines(recordings: list[NamedRecording]) -> list[str]:
    """What is worth a look, a Markdown table; one line where everything is as named, none without captured subjects."""
    if not recordings:
        return []
    subjects = len({entry.subject for entry in recordings})
    shown = sum(entry.said == "shown" for entry in recordings)
    lines = [
        f"{shown} of {len(recordings)} named recordings of {subjects} captured subjects show what their name says."
    ]
    others = [entry for entry in recordings if entry.said != "shown"]
    if others:
        lines += ["", "| subject | recording | | held | needed | shows instead |", "|---|---|---|---:|---:|---|"]
    for entry in others:
        numbers = ["–" if value is None else f"{value:.2f}" for value in (entry.strongest, entry.needed)]
        instead = ", ".join(entry.looks_like).replace("_", " ")
        said = entry.said.replace("_", " ")
        lines.append(f"| {plain(entry.subject)} | {entry.expression} | {said} | {' | '.join(numbers)} | {instead} |")
    return lines
