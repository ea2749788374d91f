"""The verdict is one honest sentence: better, worse or cannot tell, and a selection that lost is part of it."""

from __future__ import annotations

from typing import Any

import pytest

from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.table import BY_NAME
from tasks.results.verdict import outcome, verdict

PEOPLE = "same person, later frames: training saw earlier frames of 6 of 6 clips"


def _evaluation(expression: str, correlation: str, picture: str) -> dict[str, Any]:
    said = {"expression_error": expression, "expression_correlation": correlation, "l1": picture, "ssim": picture}
    cell = {"mean": 0.5, "ci95": [0.4, 0.6], "clips": 6}
    return {
        "protocol": {"clips": 6, "frames": 96, "people": PEOPLE},
        "model": {**dict.fromkeys(BY_NAME, cell), "no_face_in_result": 0},
        "baseline": dict.fromkeys(BY_NAME, cell),
        "difference": {name: {**cell, "outcome": said.get(name, "cannot tell")} for name in BY_NAME},
        "cross": {"left_out": "left out: only one person (anna) is held out"},
    }


def _cross(expression: str) -> dict[str, Any]:
    cell = {"mean": 0.5, "ci95": [0.4, 0.6], "clips": 6}
    table = {metric.name: cell for metric in CROSS_METRICS}
    return {
        "pairs": 6,
        "people": 3,
        "model": {**table, "failure_rate": {**cell, "mean": 0.25}},
        "baseline": table,
        "difference": {name: {**cell, "outcome": expression} for name in table},
    }


def _selection(beats: bool) -> dict[str, Any]:
    row = {**dict.fromkeys(BY_NAME, 0.1), "checkpoint": "checkpoint-2", "rank": 1}
    return {
        "winner": "checkpoint-2",
        "first": {**row, "checkpoint": "checkpoint-1"},
        "rows": [row],
        "beats_first": dict.fromkeys(BY_NAME, True),
        "beats_baseline": dict.fromkeys(BY_NAME, beats),
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (("better", "better"), "better"),
        (("worse", "worse"), "worse"),
        (("better", "worse"), "cannot tell"),
        (("cannot tell", "better"), "cannot tell"),
    ],
)
def test_a_question_is_decided_only_where_its_metrics_agree(said: tuple[str, str], expected: str) -> None:
    assert outcome(_evaluation(*said, "better")["difference"], "expression") == expected


def test_the_sentence_names_expression_picture_identity_and_people() -> None:
    line = verdict(_evaluation("better", "better", "better"), _selection(beats=True))[0]
    assert line["kind"] == "good"
    for part in ("the expression is better", "the picture is better", "identity is kept (distance 0.5000", PEOPLE):
        assert part in line["text"]
    assert "loses" not in line["text"]


def test_another_persons_face_and_an_identity_that_was_not_measured_are_said_as_such() -> None:
    evaluation = _evaluation("better", "better", "better")
    for cell, said in (
        ({"mean": 0.8, "ci95": None, "clips": 6}, "identity is lost (distance 0.8000, the repeated reference's 0.5000"),
        ({"mean": None, "ci95": None, "clips": 0, "reason": "no dlib"}, "identity was not measured (no dlib)"),
    ):
        evaluation["model"]["identity"] = cell
        assert said in verdict(evaluation, _selection(beats=True))[0]["text"]


@pytest.mark.parametrize(("outcome_", "kind"), [("better", "good"), ("worse", "bad"), ("cannot tell", "flat")])
def test_cross_reenactment_has_a_line_with_its_pairs_its_outcome_and_its_failures(outcome_: str, kind: str) -> None:
    evaluation = _evaluation("better", "better", "better") | {"cross": _cross(outcome_)}
    (line,) = [
        line for line in verdict(evaluation, _selection(beats=True)) if "driven by somebody else" in line["text"]
    ]
    assert line["kind"] == kind and "On 6 pairs of 3 people, driven by somebody else, the expression" in line["text"]
    assert "identity is kept" in line["text"] and "25% of the frames show no face" in line["text"]


def test_where_nobody_else_could_drive_the_verdict_says_why() -> None:
    texts = [line["text"] for line in verdict(_evaluation("better", "better", "better"), _selection(beats=True))]
    assert "Cross reenactment left out: only one person (anna) is held out." in texts


def test_a_selection_that_loses_is_said_in_the_same_breath() -> None:
    line = verdict(_evaluation("better", "better", "better"), _selection(beats=False))[0]
    assert line["kind"] == "flat"
    assert "the selected checkpoint loses to the repeated reference in L1 and SSIM and Expression error" in line["text"]


def test_worse_and_cannot_tell_are_said_as_such() -> None:
    worse = verdict(_evaluation("worse", "worse", "cannot tell"), _selection(beats=True))[0]
    assert worse["kind"] == "bad" and "the expression is worse" in worse["text"]
    assert "the picture cannot be told" in worse["text"]
