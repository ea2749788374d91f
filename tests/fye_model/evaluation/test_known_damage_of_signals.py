"""Known damage done to what a face does: each metric sees its own, and leaves what it should not see alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fye_model.evaluation.aggregate import aggregate
from fye_model.evaluation.blinks import find_blinks, match_blinks
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.faces import FaceTrack
from fye_model.evaluation.scores import ClipScores, score
from fye_model.evaluation.signals import read_signals
from fye_model.evaluation.table import METRICS
from tasks.results.tables import table_to_json
from tests.fye_model.evaluation.moving_face import face, track

FRAMES = 40
TIME = np.arange(FRAMES)
MOUTH = 1.0 + np.sin(TIME / 4)
CLOSED = np.exp(-0.5 * ((TIME[:, None] - [10, 28]) / 1.2) ** 2).max(axis=1)  # two blinks
GAZE = 0.3 * np.sin(TIME / 6)
YAW = 12 * np.sin(TIME / 9)
BLACK = np.zeros((FRAMES, 32, 32, 3), np.uint8)


def _faces(mouth: np.ndarray = MOUTH, closed: np.ndarray = CLOSED, gaze: np.ndarray = GAZE, **more) -> FaceTrack:
    yaw = more.get("yaw", YAW)
    return track([face(*values) for values in zip(mouth, closed, gaze, yaw, strict=True)])


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth(BLACK, _faces())


def _values(truth: Truth, faces: FaceTrack) -> dict[str, float]:
    return score(Comparison(truth, truth.frames, faces)).summary()


def _follows(values: dict[str, float], signal: str) -> tuple[float, float]:
    return values[f"expression.{signal}.correlation"], values[f"expression.{signal}.slope"]


def test_a_copy_of_the_truth_is_perfect(truth: Truth) -> None:
    values = _values(truth, truth.faces)
    assert (values["l1"], values["landmark_error"], values["expression_error"]) == (0, 0, 0)
    assert values["ssim"] == pytest.approx(1) and values["landmark_ap"] == 1
    assert values["expression_correlation"] == pytest.approx(1, abs=1e-12)
    for metric in METRICS:
        if metric.name.endswith((".correlation", ".slope")) and not math.isnan(values[metric.name]):
            assert values[metric.name] == pytest.approx(1, abs=1e-9), metric.name
    assert (values["blinks.recall"], values["blinks.precision"], values["blinks.timing"]) == (1, 1, 0)
    assert (values["apd_rotation"], values["apd_translation"]) == (pytest.approx(0, abs=1e-6), 0)


def test_a_frozen_mouth_is_seen_by_the_mouth_alone(truth: Truth) -> None:
    values = _values(truth, _faces(mouth=np.full(FRAMES, 1.0)))
    assert abs(_follows(values, "mouth_opening")[1]) < 0.05
    assert values["expression.mouth_opening.error"] > 0.03
    assert _follows(values, "eye_opening_left") == pytest.approx((1, 1), abs=0.05)
    assert values["blinks.recall"] == 1


def test_half_the_amplitude_halves_the_slope_and_leaves_the_correlation(truth: Truth) -> None:
    values = _values(truth, _faces(mouth=1 + (MOUTH - 1) / 2, closed=CLOSED / 2))
    assert _follows(values, "mouth_opening") == pytest.approx((1, 0.5), abs=0.03)
    assert _follows(values, "eye_opening_right") == pytest.approx((1, 0.5), abs=0.03)


def test_no_blinks_are_seen_by_the_eyes_and_the_blink_count(truth: Truth) -> None:
    values = _values(truth, _faces(closed=np.zeros(FRAMES)))
    assert values["blinks.recall"] == 0 and math.isnan(values["blinks.precision"])
    assert abs(_follows(values, "eye_opening_left")[1]) < 0.1
    assert _follows(values, "mouth_opening") == pytest.approx((1, 1), abs=0.02)


def test_blinks_that_the_truth_has_not_cost_precision(truth: Truth) -> None:
    more = np.maximum(CLOSED, np.exp(-0.5 * ((TIME - 19) / 1.2) ** 2))
    values = _values(truth, _faces(closed=more))
    assert values["blinks.recall"] == 1 and values["blinks.precision"] == pytest.approx(2 / 3)


def test_two_frames_late_is_seen_by_the_blinks_timing_and_every_correlation(truth: Truth) -> None:
    late = np.maximum(TIME - 2, 0)
    values = _values(truth, _faces(MOUTH[late], CLOSED[late], GAZE[late], yaw=YAW[late]))
    assert values["blinks.timing"] == 2
    assert 0.6 < _follows(values, "mouth_opening")[0] < 0.95
    assert _follows(values, "eye_opening_left")[0] < 0.6
    assert values["pose.yaw.correlation"] < 0.99


def test_mirrored_gaze_turns_its_correlation_round_and_no_other(truth: Truth) -> None:
    values = _values(truth, _faces(gaze=-GAZE))
    assert _follows(values, "gaze_x") == pytest.approx((-1, -1), abs=0.15)
    assert _follows(values, "mouth_opening") == pytest.approx((1, 1), abs=0.02)


def test_a_turned_head_is_no_expression(truth: Truth) -> None:
    values = _values(truth, _faces(yaw=-YAW))
    assert values["pose.yaw.correlation"] == pytest.approx(-1, abs=0.05)
    assert values["apd_rotation"] > 5
    assert values["landmark_error"] > 0.05  # mostly head pose, which is why it cannot carry the verdict
    assert values["expression_error"] < 0.02
    for signal in ("mouth_opening", "eye_opening_left", "eye_opening_right"):
        assert _follows(values, signal)[0] > 0.95, signal


def test_a_frozen_face_follows_nothing(truth: Truth) -> None:
    values = _values(truth, truth.faces.repeated(FRAMES))
    assert _follows(values, "mouth_opening") == pytest.approx((0, 0), abs=1e-9)
    assert values["expression_correlation"] == 0
    assert values["blinks.recall"] == 0


def test_frames_that_lost_their_face_count_against_every_metric(truth: Truth) -> None:
    points = [None if frame % 2 else point for frame, point in enumerate(truth.faces.points)]
    scores = score(Comparison(truth, truth.frames, track(points)))
    values = scores.summary()
    assert values["no_face_in_result"] == FRAMES // 2
    assert values["expression.mouth_opening.error"] == pytest.approx(0.5, abs=1e-4)
    assert values["landmark_ap"] == pytest.approx(0.5)
    assert 0.4 < _follows(values, "mouth_opening")[1] < 0.6
    assert values["apd_rotation"] > 20


def test_signals_are_of_the_face_and_not_of_its_size_or_place() -> None:
    near, far = (
        read_signals(track([face(1.0, 0.2, 0.1, shift=shift)], size)) for shift, size in ((0, 64), (0.05, 256))
    )
    for name in ("mouth_opening", "eye_opening_left", "gaze_x"):
        assert near[name] == pytest.approx(far[name], abs=0.01), name


def test_a_still_truth_gives_no_slope_and_says_why_in_strict_json(truth: Truth) -> None:
    still = Truth(BLACK, truth.faces.repeated(FRAMES))
    scores: list[ClipScores] = [score(Comparison(still, BLACK, truth.faces))] * 2
    cell = table_to_json(aggregate(scores))["expression.mouth_opening.slope"]
    assert cell["mean"] is None and cell["ci95"] is None and "does not move" in cell["reason"]


def test_clips_are_pooled_with_each_ones_own_mean_removed(truth: Truth) -> None:
    wide = Truth(BLACK, _faces(mouth=MOUTH + 1))
    scores = [score(Comparison(truth, BLACK, truth.faces)), score(Comparison(wide, BLACK, _faces(mouth=MOUTH)))]
    found = aggregate(scores).estimates
    assert found["expression.mouth_opening.correlation"].value == pytest.approx(1, abs=0.01)
    assert found["expression.mouth_opening.error"].value > 0.02  # the constant offset is an error all the same


def test_blinks_are_runs_below_half_and_are_matched_once() -> None:
    opening = np.ones(30)
    opening[[5, 6, 8]] = (0.3, 0.1, 0.2)  # one blink: a single frame above does not part it
    opening[20] = 0.2
    opening[25] = math.nan
    assert find_blinks(opening) == [6, 20]
    counts = match_blinks(opening, np.roll(opening, 3))
    assert (counts.truth, counts.result, counts.matched, counts.offset_frames) == (2, 2, 2, 6)
    assert match_blinks(opening, np.roll(opening, 6)).matched == 0
    assert find_blinks(np.full(5, math.nan)) == []
