"""What an evaluation and a selection say, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {"l1": "L1", "ssim": "SSIM", "landmark_error": "landmark error"}
_FEW_CLIPS = 10


def verdict(evaluation: Mapping[str, Any], selection: Mapping[str, Any]) -> list[dict[str, str]]:
    """What the numbers say, in plain words: [{"kind": good | bad | flat, "word", "text"}]."""
    lines = [_against_baseline(evaluation, metric) for metric in ("l1", "landmark_error", "ssim")]
    winner, first = selection["winner"], selection["first"]
    if selection["beats_first"] is None:
        if len(selection["rows"]) == 1:
            lines.append(_line("flat", "There was only one checkpoint, so nothing shows that training on helped."))
        else:
            text = "The selected checkpoint is the first one: by the declared rule, training on did not help."
            lines.append(_line("bad", text))
    else:
        by_name = {row["checkpoint"]: row for row in selection["rows"]}
        for metric in ("l1", "landmark_error"):
            ours, theirs = by_name[winner][metric], first[metric]
            better = selection["beats_first"][metric]
            how = {True: "beats", False: "does not beat", None: "cannot be compared with"}[better]
            text = (
                f"The selected checkpoint {winner} {how} the first checkpoint {first['checkpoint']} in "
                f"{_WORDS[metric]}: {show(ours)} against {show(theirs)} on the selection's held-out frames."
            )
            lines.append(_line(_kind(better), text))
    model, frames = evaluation["model"], evaluation["protocol"]["frames"]
    if model["no_face_in_result"]:
        text = (
            f"{model['no_face_in_result']} of {frames} result frames show no face that the landmark model can find; "
            "each counts as a landmark error of one interocular distance."
        )
        lines.append(_line("bad", text, "Failures."))
    clips = evaluation["protocol"]["clips"]
    if clips < _FEW_CLIPS:
        count = f"{clips} held-out clip{'s' if clips != 1 else ''}"
        text = (
            f"Measured on {count}: enough to see whether the model learned, too little to know how it does elsewhere."
        )
        lines.append(_line("flat", text))
    return lines


def _against_baseline(evaluation: Mapping[str, Any], metric: str) -> dict[str, str]:
    better = evaluation["beats_baseline"][metric]
    ours, theirs = evaluation["model"][metric]["mean"], evaluation["baseline"][metric]["mean"]
    label = _WORDS[metric]
    if better is None:
        return _line("flat", f"The {label} could not be measured: no face was found in the truth.")
    how = "beats" if better else "does not beat"
    text = (
        f"On held-out frames the model {how} repeating the reference in {label}: {show(ours)} against {show(theirs)}."
    )
    return _line(_kind(better), text)


def _line(kind: str, text: str, word: str | None = None) -> dict[str, str]:
    return {"kind": kind, "word": word or {"good": "Yes.", "bad": "No.", "flat": "Note."}[kind], "text": text}


def _kind(better: bool | None) -> str:
    return {True: "good", False: "bad", None: "flat"}[better]


def show(value: float | str | None) -> str:
    """A metric's value for people: four decimals, two from 10 on; None is what could not be measured."""
    if value is None:
        return "not measured"
    number = float(value)
    return str(value) if isinstance(value, str) else f"{number:.2f}" if abs(number) >= 10 else f"{number:.4f}"
