"""Variants of the method side by side: each pooled over its seeds, and its paired difference to the full method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field, JsonValue

from fye_model.ablations import FULL, Ablation
from fye_model.config import Config
from fye_model.evaluation.aggregate import Outcome, compare, estimate, json_number
from fye_model.evaluation.cross import METRICS_OF
from fye_model.evaluation.metric import Metric
from fye_model.evaluation.scores import ClipScores, merged
from tasks.results.grids import Interval, Number
from tasks.results.runs import ScoredRun

SCHEMA = 1


@dataclass(frozen=True)
class Trained:
    """One variant trained with one seed: what its evaluation scored, and how each of its stages came about.

    stages: name -> "cached" (found in the store, shared with an earlier variant, seed or run) or "computed".
    """

    ablation: Ablation
    seed: int
    scored: ScoredRun
    checkpoint: str
    stages: Mapping[str, str]


class Cell(Config):
    """One metric of one variant, all seeds together; `by_seed` has them apart, in the order of `seeds`."""

    value: Number
    interval: Interval
    clips: int
    reason: str | None
    by_seed: tuple[Number, ...]


class Contrast(Config):
    """A variant minus the full method on the same clips, and what the interval says of the variant."""

    value: Number
    interval: Interval
    clips: int
    outcome: Outcome


class TaskTable(Config):
    """One task: how many clips or pairs, and of each variant every metric and its difference to the full method."""

    clips: int
    values: dict[str, dict[str, Cell]]
    differences: dict[str, dict[str, Contrast]]


class VariantTold(Config):
    """What a variant is, and of each seed the selected checkpoint and how its stages came about."""

    label: str
    changed: dict[str, JsonValue]
    checkpoints: tuple[str, ...]
    stages: tuple[dict[str, str], ...]


class AblationTable(Config):
    """ablation.json. terms: what the numbers have to be read with."""

    schema_version: int = Field(SCHEMA, alias="schema")
    recipe: str
    seeds: tuple[int, ...]
    terms: dict[str, JsonValue]
    variants: dict[str, VariantTold]
    tasks: dict[str, TaskTable]
    cross_left_out: str | None


def ablation_table(recipe: str, trained: Sequence[Trained], people: str, cross_left_out: str | None) -> AblationTable:
    """All that is said of some trained variants, the full method among them, with the same seeds each.

    people: whom the evaluation is of, in its own words; cross_left_out: why nobody else drove, None where somebody did.
    Raises ValueError where two of them were not evaluated on the same clips.
    """
    by_name: dict[str, list[Trained]] = {}
    for one in trained:
        by_name.setdefault(one.ablation.name, []).append(one)
    _check_alike(trained)
    first = trained[0].scored
    clips = {task: [name for name, clip in first.clips.items() if clip.task == task] for task in METRICS_OF}
    return AblationTable(
        schema=SCHEMA,
        recipe=recipe,
        seeds=tuple(one.seed for one in by_name[FULL]),
        terms={"people": people, **first.terms},
        variants={name: _told(runs) for name, runs in by_name.items()},
        tasks={
            task: _task(METRICS_OF[task], {n: _by_seed(runs, names) for n, runs in by_name.items()})
            for task, names in clips.items()
            if names
        },
        cross_left_out=cross_left_out,
    )


def _told(runs: Sequence[Trained]) -> VariantTold:
    ablation = runs[0].ablation
    return VariantTold(
        label=ablation.label,
        changed=ablation.overrides,
        checkpoints=tuple(run.checkpoint for run in runs),
        stages=tuple(dict(run.stages) for run in runs),
    )


def _check_alike(trained: Sequence[Trained]) -> None:
    first = trained[0]
    for one in trained[1:]:
        if one.scored.clips.keys() != first.scored.clips.keys() or one.scored.terms != first.scored.terms:
            raise ValueError(
                f"{one.ablation.label}, seed {one.seed}, was not evaluated as {first.ablation.label}, seed "
                f"{first.seed}: other clips or other terms; run the ablation again in its work folder"
            )


def _by_seed(runs: Sequence[Trained], clips: Sequence[str]) -> list[list[ClipScores]]:
    """Of each seed, the scores of the clips."""
    return [[run.scored.clips[clip].scores for clip in clips] for run in runs]


def _task(metrics: Sequence[Metric], scores: Mapping[str, Sequence[Sequence[ClipScores]]]) -> TaskTable:
    together = {name: [merged(of) for of in zip(*seeds, strict=True)] for name, seeds in scores.items()}
    return TaskTable(
        clips=len(together[FULL]),
        values={
            name: {metric.name: _cell(metric, together[name], seeds) for metric in metrics}
            for name, seeds in scores.items()
        },
        differences={
            name: {metric.name: _contrast(metric, clips, together[FULL]) for metric in metrics}
            for name, clips in together.items()
            if name != FULL
        },
    )


def _cell(metric: Metric, clips: Sequence[ClipScores], seeds: Sequence[Sequence[ClipScores]]) -> Cell:
    found = estimate(metric, clips)
    return Cell(
        value=json_number(found.value),
        interval=found.interval,
        clips=found.clips,
        reason=found.reason,
        by_seed=tuple(json_number(estimate(metric, of).value) for of in seeds),
    )


def _contrast(metric: Metric, clips: Sequence[ClipScores], full: Sequence[ClipScores]) -> Contrast:
    found = compare(metric, clips, full)
    return Contrast(value=json_number(found.value), interval=found.interval, clips=found.clips, outcome=found.outcome)
