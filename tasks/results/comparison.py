"""Two finished runs on the clips that both have: whether they may be compared, and each metric's paired difference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydantic import Field, JsonValue

from fye_model.config import Config
from fye_model.evaluation.aggregate import INTERVAL, Difference, Estimate, Outcome, compare, estimate, json_number
from fye_model.evaluation.cross import METRICS_OF, Task
from fye_model.evaluation.metric import Metric
from fye_model.evaluation.scores import COUNTS
from fye_model.evaluation.table import BY_NAME
from tasks.results.grids import Interval, Number
from tasks.results.runs import Scored, ScoredRun
from tasks.results.verdict import FEW_CLIPS, NO_IDENTITY, answers, counted, show

SCHEMA = 1
TITLES: dict[Task, str] = {"self": "self reenactment", "cross": "cross reenactment"}
# The repeated reference scores the same wherever pictures, frames and reference are the same: a larger share than
# this is no rounding.
_SAME_PICTURES = 1e-3


class Side(Config):
    """One of the two runs: where, which method, its settings, and how many of the clips its training knew."""

    folder: str
    method: str
    settings: dict[str, JsonValue]
    trained_on: int


class Cell(Config):
    """A value with its interval and the clips in it; `reason` where there is no value."""

    value: Number
    interval: Interval
    clips: int
    reason: str | None = None


class Row(Config):
    """One metric: both values, A minus B on the same clips, and what that says of A."""

    metric: str
    label: str
    unit: str
    better: str
    a: Cell
    b: Cell
    difference: Cell
    outcome: Outcome


class Section(Config):
    """All metrics of one task over the clips that both runs have, the counts, and one sentence."""

    task: Task
    clips: tuple[str, ...]
    rows: tuple[Row, ...]
    counts: dict[str, tuple[int, int]]
    not_compared: dict[str, str]
    sentence: str


class RunComparison(Config):
    """comparison.json. only_in_a, only_in_b: names of clips that only one run has, which nothing here is made of."""

    schema_version: int = Field(SCHEMA, alias="schema")
    a: Side
    b: Side
    terms: dict[str, JsonValue]
    interval: str
    sections: tuple[Section, ...]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]


def compare_runs(a: ScoredRun, b: ScoredRun) -> RunComparison:
    """Compare two runs clip by clip. Raises ValueError, naming everything that differs, for runs that must not be."""
    problems = [*_other_terms(a, b), *_other_clips(a, b)]
    if problems:
        told = "\n".join(f"  {problem}" for problem in problems)
        raise ValueError(f"{a.folder} (A) and {b.folder} (B) were not measured alike, so nothing is compared:\n{told}")
    both = [clip for clip in a.clips if clip in b.clips]
    if not both:
        raise ValueError(
            f"{a.folder} (A) and {b.folder} (B) have no clip in common: A has {_names(a, a.clips)}; B has "
            f"{_names(b, b.clips)}. Evaluate both on the same videos"
        )
    sections = [_section(task, a, b, [clip for clip in both if a.clips[clip].task == task]) for task in METRICS_OF]
    return RunComparison(
        schema=SCHEMA,
        a=_side(a, both),
        b=_side(b, both),
        terms=dict(a.terms),
        interval=INTERVAL,
        sections=tuple(section for section in sections if section is not None),
        only_in_a=tuple(a.clips[clip].name for clip in a.clips if clip not in b.clips),
        only_in_b=tuple(b.clips[clip].name for clip in b.clips if clip not in a.clips),
    )


def _other_terms(a: ScoredRun, b: ScoredRun) -> Iterator[str]:
    """What the runs have to share and do not: the terms by name, and metrics whose formulas changed."""
    for name in dict.fromkeys([*a.terms, *b.terms]):
        first, second = a.terms.get(name), b.terms.get(name)
        if first != second:
            yield f"{name}: A has {first!r}, B has {second!r}"
    for name in a.metrics.keys() & b.metrics.keys():
        if a.metrics[name] != b.metrics[name]:
            yield f"metric {name}: A measured {a.metrics[name]!r}, B measured {b.metrics[name]!r}"


def _other_clips(a: ScoredRun, b: ScoredRun) -> Iterator[str]:
    """Clips that both have, of which they took other frames, or other pictures of the same frames."""
    for clip, first in a.clips.items():
        second = b.clips.get(clip)
        if second is None:
            continue
        if (first.task, first.frames) != (second.task, second.frames):
            yield f"clip {first.name}: A scored {first.frames}; B scored {second.frames}"
        elif first.scores.size != second.scores.size:
            yield f"clip {first.name}: A compared at {first.scores.size} pixels, B at {second.scores.size}"
        elif first.yardstick is not None and second.yardstick is not None:
            l1, other = (clip.value(BY_NAME["l1"]) for clip in (first.yardstick, second.yardstick))
            if not math.isclose(l1, other, rel_tol=_SAME_PICTURES):
                yield (
                    f"clip {first.name}: its pictures are not the same (repeating the reference has L1 {show(l1)} in "
                    f"A, {show(other)} in B); cut and crop the clips alike"
                )


def _section(task: Task, a: ScoredRun, b: ScoredRun, clips: Sequence[str]) -> Section | None:
    """One task's table; None where the runs share no clip of it."""
    if not clips:
        return None
    ours, theirs = [a.clips[clip] for clip in clips], [b.clips[clip] for clip in clips]
    lacking = {metric.name: _lacking(metric, ours, theirs) for metric in METRICS_OF[task]}
    metrics = [metric for metric in METRICS_OF[task] if lacking[metric.name] is None]
    rows = tuple(_row(metric, ours, theirs) for metric in metrics)
    outcomes = {row.metric: {"outcome": row.outcome} for row in rows}
    return Section(
        task=task,
        clips=tuple(clip.name for clip in ours),
        rows=rows,
        counts={name: (_count(ours, name), _count(theirs, name)) for name in COUNTS},
        not_compared={name: reason for name, reason in lacking.items() if reason is not None},
        sentence=_sentence(task, outcomes, metrics, ours, theirs),
    )


def _lacking(metric: Metric, ours: Sequence[Scored], theirs: Sequence[Scored]) -> str | None:
    """Why a metric cannot be compared: a run of another version did not measure it, or neither machine could."""
    without = [
        side
        for side, clips in (("A", ours), ("B", theirs))
        if not all(metric.name in clip.scores.statistics for clip in clips)
    ]
    if without:
        return f"not measured in {' and '.join(without)}"
    missing = metric.lacks()
    measured = any(not np.isnan(clip.scores.statistics[metric.name]).all() for clip in (*ours, *theirs))
    return f"missing: {missing}" if missing and not measured else None


def _row(metric: Metric, ours: Sequence[Scored], theirs: Sequence[Scored]) -> Row:
    first, second = [clip.scores for clip in ours], [clip.scores for clip in theirs]
    found = compare(metric, first, second)
    return Row(
        metric=metric.name,
        label=metric.label,
        unit=metric.unit,
        better=metric.better,
        a=_cell(estimate(metric, first)),
        b=_cell(estimate(metric, second)),
        difference=_cell(found),
        outcome=found.outcome,
    )


def _cell(found: Estimate | Difference) -> Cell:
    reason = found.reason if isinstance(found, Estimate) else None
    return Cell(value=json_number(found.value), interval=found.interval, clips=found.clips, reason=reason)


def _sentence(
    task: Task,
    outcomes: Mapping[str, Mapping[str, str]],
    metrics: Sequence[Metric],
    ours: Sequence[Scored],
    theirs: Sequence[Scored],
) -> str:
    parts = [text for _, text in answers(outcomes, "B's", metrics).values()]
    few = ", too few to know how it is elsewhere" if len(ours) < FEW_CLIPS else ""
    known = [sum(clip.trained_on for clip in clips) for clips in (ours, theirs)]
    seen = ""
    if any(known):
        seen = f" (training saw other frames of {known[0]} of them in A, of {known[1]} in B)"
    answer = ", ".join(parts) or "nothing that decides was measured in both"
    clips = f"{counted(len(ours), 'clip')}{few}{seen}"
    return f"On {clips}, A against B in {TITLES[task]}: {answer}, and {_identity(metrics, ours, theirs)}."


def _identity(metrics: Sequence[Metric], ours: Sequence[Scored], theirs: Sequence[Scored]) -> str:
    """Which of the two keeps the person better, where a face embedding was at hand in both."""
    words = {
        "better": "identity is better kept than in B",
        "worse": "identity is less well kept than in B",
        "cannot tell": "identity cannot be told to be better or worse than in B",
    }
    for metric in metrics:
        if metric.question == "identity" and all(metric.name in clip.scores.statistics for clip in (*ours, *theirs)):
            found = compare(metric, [clip.scores for clip in ours], [clip.scores for clip in theirs])
            if math.isfinite(found.value):
                return words[found.outcome]
    return NO_IDENTITY


def _count(clips: Sequence[Scored], name: str) -> int:
    return sum(clip.scores.count(name) for clip in clips)


def _side(run: ScoredRun, clips: Sequence[str]) -> Side:
    seen = sum(run.clips[clip].trained_on for clip in clips)
    return Side(folder=str(run.folder), method=run.method, settings=dict(run.settings), trained_on=seen)


def _names(run: ScoredRun, clips: Mapping[str, Scored]) -> str:
    names = [run.clips[clip].name for clip in clips]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
