"""Whether a newly trained model takes the place of the one in use: a declared rule over paired intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fye_model.config import PromotionConfig
from fye_model.evaluation.cross import METRICS_OF
from tasks.results.comparison import TITLES, RunComparison, Section, compare_runs
from tasks.results.runs import read_evaluation
from tasks.results.verdict import counted, outcome

RULE = (
    "promoted if {better} is better by the paired intervals of all metrics that decide it, and no metric that decides "
    "{not_worse} is worse, on at least {clips} clips that both were measured on"
)


@dataclass(frozen=True)
class Decision:
    """Whether to promote, why in one sentence, and the rule."""

    promote: bool
    why: str
    rule: str


def judged(ours: Path, in_use: tuple[str, Path] | None, rule: PromotionConfig) -> Decision:
    """Apply the rule to a new model's evaluation; folders of `evaluate`, on the same clips.

    in_use: id and evaluation of the model in use. Without one, the new model is held against the repeated reference.
    """
    if in_use is None:
        found = compare_runs(read_evaluation(ours), read_evaluation(ours, "baseline"))
        return decide(found, rule, "repeating the reference (no model is in use)")
    model, theirs = in_use
    return decide(compare_runs(read_evaluation(ours), read_evaluation(theirs)), rule, f"the model in use ({model})")


def decide(found: RunComparison, rule: PromotionConfig, other: str) -> Decision:
    """Apply the rule to a comparison in which A is the new model and B is `other`, in words."""
    told = RULE.format(
        better=" and ".join(rule.better) or "nothing",
        not_worse=" and ".join(rule.not_worse) or "nothing",
        clips=rule.clips,
    )
    themselves = next((section for section in found.sections if section.task == "self"), None)
    clips = len(themselves.clips) if themselves is not None else 0
    if themselves is None or clips < rule.clips:
        return Decision(False, f"both were measured on {counted(clips, 'clip')}, the rule wants {rule.clips}", told)
    worse = [line for section in found.sections for line in _worse(section, rule)]
    if worse:
        return Decision(False, f"it is worse than {other} in {', '.join(worse)}", told)
    outcomes = {row.metric: {"outcome": row.outcome} for row in themselves.rows}
    metrics = [metric for metric in METRICS_OF["self"] if metric.name in outcomes]
    open_ = [question for question in rule.better if outcome(outcomes, question, metrics) != "better"]
    if open_:
        return Decision(False, f"it cannot be told to be better than {other} in {' and '.join(open_)}", told)
    how = f"better than {other} in {' and '.join(rule.better)}" if rule.better else f"no worse than {other}"
    why = f"it is {how}, on {counted(clips, 'clip')}"
    return Decision(True, why, told)


def _worse(section: Section, rule: PromotionConfig) -> Iterator[str]:
    """The deciding metrics of the guarded questions in which A is worse; of identity, its distance."""
    questions = (*rule.better, *rule.not_worse)
    metrics = [metric for metric in METRICS_OF[section.task] if metric.question in questions]
    guarded = {metric.name for metric in metrics if metric.decides or metric.name == "identity"}
    for row in section.rows:
        if row.metric in guarded and row.outcome == "worse":
            yield f"{row.label} of {TITLES[section.task]}"
