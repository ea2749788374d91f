"""What an evaluation and a selection say, in plain words: better, worse, or cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.identity import SAME_PERSON
from fye_model.evaluation.metric import Metric
from fye_model.evaluation.table import METRICS

Kind = Literal["good", "bad", "flat"]
FEW_CLIPS = 10
NO_IDENTITY = "identity was not measured (no face embedding is at hand)"
# Questions of the verdict in the order of the sentence; those of the metric table are decided by its `decides` rows.
_QUESTIONS = {"expression": "the expression", "picture": "the picture"}
# Slopes and the share of blinks from which on a person sees the face perform.
_VISIBLE = 0.5
_SHOWN = ("mouth_opening", "eye_opening_left", "eye_opening_right")


class Line(TypedDict):
    """One statement: its tone, a word to begin with, and the sentence."""

    kind: Kind
    word: str
    text: str


def verdict(evaluation: Mapping[str, Any], selection: Mapping[str, Any]) -> list[Line]:
    """What the numbers say, the most important first.

    evaluation, selection: what `tasks.evaluate` and `tasks.select` return.
    """
    lines = [_sentence(evaluation, selection), _performed(evaluation), _crossed(evaluation["cross"])]
    model, frames = evaluation["model"], evaluation["protocol"]["frames"]
    if model["no_face_in_result"]:
        text = (
            f"{model['no_face_in_result']} of {frames} result frames show no face that the landmark model can find; "
            "each counts as a landmark error of one interocular distance."
        )
        lines.append(_line("bad", text, "Failures."))
    clips = evaluation["protocol"]["clips"]
    if clips < FEW_CLIPS:
        text = (
            f"Measured on {counted(clips, 'held-out clip')}: enough to see whether the model learned, too little to "
            "know how it does elsewhere."
        )
        lines.append(_line("flat", text))
    return lines


def in_detail(evaluation: Mapping[str, Any], selection: Mapping[str, Any]) -> list[Line]:
    """What the verdict is made of: the deciding metrics one by one, and whether training on helped."""
    return [*_measured(evaluation), *_since_the_first(selection)]


def outcome(difference: Mapping[str, Any], question: str, metrics: Sequence[Metric] = METRICS) -> str:
    """Better, worse or cannot tell: what all deciding metrics of a question agree on, by their paired intervals."""
    said = {difference[metric.name]["outcome"] for metric in metrics if metric.decides and metric.question == question}
    return said.pop() if len(said) == 1 else "cannot tell"


def answers(
    difference: Mapping[str, Any], other: str, metrics: Sequence[Metric] = METRICS
) -> dict[str, tuple[str, str]]:
    """Each question that some metric decides: its outcome, and how a sentence says it against `other`."""
    words = {
        "better": "is better than",
        "worse": "is worse than",
        "cannot tell": "cannot be told to be better or worse than",
    }
    asked = [
        question for question in _QUESTIONS if any(metric.decides and metric.question == question for metric in metrics)
    ]
    found = {question: outcome(difference, question, metrics) for question in asked}
    return {question: (said, f"{_QUESTIONS[question]} {words[said]} {other}") for question, said in found.items()}


def _sentence(evaluation: Mapping[str, Any], selection: Mapping[str, Any]) -> Line:
    """The verdict in one sentence, with the selection's answer in the same breath where it is a bad one."""
    said = answers(evaluation["difference"], "repeating the reference")
    parts = [part for _, part in said.values()]
    text = f"On {_whom(evaluation['protocol'])}, {parts[0]}, {parts[1]}, and {_identity(evaluation)}"
    lost = _lost(selection)
    if lost:
        text += f"; on the selection's own frames the selected checkpoint loses to the repeated reference in {lost}"
    kinds: dict[str, Kind] = {"better": "good", "worse": "bad", "cannot tell": "flat"}
    kind = kinds[said["expression"][0]]
    if kind == "good" and (lost or said["picture"][0] == "worse"):
        kind = "flat"
    return _line(kind, f"{text}.", {"good": "Better.", "bad": "Worse.", "flat": "Mixed."}[kind])


def _identity(evaluation: Mapping[str, Any]) -> str:
    """Whether it is still the same person. The repeated reference is, so it is no bar to beat but what is possible."""
    ours, theirs = (evaluation[method]["identity"] for method in ("model", "baseline"))
    if ours["mean"] is None:
        return f"identity was not measured ({ours.get('reason', 'nothing could be compared')})"
    how = "kept" if float(ours["mean"]) < SAME_PERSON else "lost"
    return (
        f"identity is {how} (distance {show(ours['mean'])}, the repeated reference's {show(theirs['mean'])}, "
        f"one person's within {SAME_PERSON:g})"
    )


def _whom(protocol: Mapping[str, Any]) -> str:
    return f"{counted(protocol['clips'], 'clip')} ({protocol.get('people', 'people not recorded')})"


def _lost(selection: Mapping[str, Any]) -> str:
    """Where the winner's value is not better than the baseline's on the selection's frames; empty: nowhere."""
    beats = selection["beats_baseline"]
    names = [metric.label for metric in METRICS if metric.decides and beats.get(metric.name) is False]
    return " and ".join(names)


def _performed(evaluation: Mapping[str, Any]) -> Line:
    """How far mouth and eyes follow, in numbers that people can picture."""
    model = evaluation["model"]
    labels = {metric.name: metric.label.removesuffix(", slope") for metric in METRICS}
    parts, slopes = [], []
    for signal in _SHOWN:
        slope, r = (model[f"expression.{signal}.{kind}"]["mean"] for kind in ("slope", "correlation"))
        if slope is not None and r is not None:
            slopes.append(slope)
            name = labels[f"expression.{signal}.slope"]
            parts.append(f"{name} moves {100 * slope:.0f}% as far as in the truth (correlation {r:.2f})")
    recall = model["blinks.recall"]["mean"]
    if recall is not None:
        parts.append(f"{100 * recall:.0f}% of the blinks are there")
    if not parts:
        return _line(
            "flat", "Nothing can be said of mouth and eyes: in the truth they do not move, or no face was found."
        )
    good = min(slopes, default=1.0) >= _VISIBLE and (recall is None or recall >= _VISIBLE)
    return _line("good" if good else "bad", f"Performed: {'; '.join(parts)}.", "Yes." if good else "No.")


def _crossed(cross: Mapping[str, Any]) -> Line:
    """Cross reenactment: whether another person's expression is followed, and whose face it then is."""
    if "left_out" in cross:
        return _line("flat", f"Cross reenactment {cross['left_out']}.")
    said, text = answers(cross["difference"], "repeating the reference", CROSS_METRICS)["expression"]
    pairs = f"{counted(cross['pairs'], 'pair')} of {cross['people']} people"
    parts = [f"On {pairs}, driven by somebody else, {text}", _identity(cross)]
    failed = cross["model"]["failure_rate"]["mean"]
    if failed:
        parts.append(f"{100 * float(failed):.0f}% of the frames show no face")
    kinds: dict[str, Kind] = {"better": "good", "worse": "bad", "cannot tell": "flat"}
    return _line(kinds[said], f"{'; '.join(parts)}.")


def _measured(evaluation: Mapping[str, Any]) -> list[Line]:
    """The deciding metrics and the landmark error one by one, each with its paired interval."""
    names = [metric for metric in METRICS if metric.decides or metric.name == "landmark_error"]
    lines = []
    for metric in names:
        ours, theirs = evaluation["model"][metric.name]["mean"], evaluation["baseline"][metric.name]["mean"]
        difference = evaluation["difference"][metric.name]
        if ours is None or theirs is None:
            reason = evaluation["model"][metric.name].get("reason", "nothing could be compared")
            lines.append(_line("flat", f"{metric.label} could not be measured: {reason}."))
            continue
        low_high = difference["ci95"]
        how = {
            "better": "beats repeating the reference",
            "worse": "does not beat repeating the reference",
            "cannot tell": "cannot be told from repeating the reference",
        }[difference["outcome"]]
        interval = f"; difference {show(low_high[0])} to {show(low_high[1])}" if low_high else "; too few clips to tell"
        kinds: dict[str, Kind] = {"better": "good", "worse": "bad", "cannot tell": "flat"}
        text = f"On held-out frames the model {how} in {metric.label}: {show(ours)} against {show(theirs)}{interval}."
        lines.append(_line(kinds[difference["outcome"]], text))
    return lines


def _since_the_first(selection: Mapping[str, Any]) -> list[Line]:
    """Whether training on helped."""
    winner, first = selection["winner"], selection["first"]
    if selection["beats_first"] is None:
        if len(selection["rows"]) == 1:
            return [_line("flat", "There was only one checkpoint, so nothing shows that training on helped.")]
        text = "The selected checkpoint is the first one: by the declared rule, training on did not help."
        return [_line("bad", text)]
    row = next(row for row in selection["rows"] if row["checkpoint"] == winner)
    lines = []
    for metric in METRICS:
        if metric.name not in ("l1", "expression_error"):
            continue
        better = selection["beats_first"][metric.name]
        how = {True: "beats", False: "does not beat", None: "cannot be compared with"}[better]
        text = (
            f"The selected checkpoint {winner} {how} the first checkpoint {first['checkpoint']} in {metric.label}: "
            f"{_apart(row[metric.name], first[metric.name])} on the selection's held-out frames."
        )
        kinds: dict[bool | None, Kind] = {True: "good", False: "bad", None: "flat"}
        lines.append(_line(kinds[better], text))
    return lines


def _line(kind: Kind, text: str, word: str | None = None) -> Line:
    return {"kind": kind, "word": word or {"good": "Yes.", "bad": "No.", "flat": "Note."}[kind], "text": text}


def _apart(ours: float | str | None, theirs: float | str | None) -> str:
    """Two values with as many decimals as part them, if few part them at all."""
    if isinstance(ours, float) and isinstance(theirs, float) and ours != theirs:
        for decimals in range(4, 9):
            first, second = f"{ours:.{decimals}f}", f"{theirs:.{decimals}f}"
            if first != second and abs(ours) < 10:
                return f"{first} against {second}"
    return f"{show(ours)} against {show(theirs)}"


def show(value: float | str | None) -> str:
    """A metric's value for people: four decimals, two from 10 on; None is what could not be measured."""
    if value is None:
        return "not measured"
    number = float(value)
    text = str(value) if isinstance(value, str) else f"{number:.2f}" if abs(number) >= 10 else f"{number:.4f}"
    return text.removeprefix("-") if float(text) == 0 else text


def counted(count: int, what: str) -> str:
    """`1 clip`, `2 clips`."""
    return f"{count} {what}{'s' if count != 1 else ''}"
