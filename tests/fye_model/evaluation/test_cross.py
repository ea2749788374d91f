"""Scores of another identity see what it performs, and not who it is or where its face lies."""

from __future__ import annotations

import numpy as np
import pytest

from fye_model.evaluation.aggregate import estimate
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.cross import CROSS_METRICS, FAILURES, SELF_METRICS
from fye_model.evaluation.scores import ClipScores, score
from tests.fye_model.evaluation.moving_face import face, track

FRAMES = 24
TIME = np.arange(FRAMES)
MOUTH = 1.0 + np.sin(TIME / 2)
YAW = 12 * np.sin(TIME / 5)
PICTURES = np.full((FRAMES, 64, 64, 3), 90, np.uint8)
METRICS = {metric.name: metric for metric in CROSS_METRICS}


def driver(**changes: object) -> list[np.ndarray | None]:
    values = {"mouth": MOUTH, "yaw_deg": YAW, **changes}
    return [face(**{name: float(np.broadcast_to(value, FRAMES)[i]) for name, value in values.items()}) for i in TIME]


def scored(result: list[np.ndarray | None]) -> ClipScores:
    return score(Comparison(Truth(PICTURES, track(driver())), PICTURES, track(result)), CROSS_METRICS)


def value(scores: ClipScores, name: str) -> float:
    return scores.value(METRICS[name])


def test_a_face_elsewhere_and_of_other_size_that_performs_alike_is_right() -> None:
    moved = [(one - (0.5, 0.5, 0)) * 0.7 + (0.55, 0.42, 0) for one in driver() if one is not None]
    found = scored(moved)
    assert value(found, "landmark_ap_placed") > 0.99
    assert value(found, "expression.mouth_opening.correlation") > 0.99
    assert value(found, "apd_translation_change") < 1.0
    straight = scored(driver(shift=0.1))
    assert value(straight, "landmark_ap_placed") > 0.99 and value(straight, "apd_translation_change") < 0.6


def test_another_mouth_at_rest_is_no_error_and_a_still_one_is() -> None:
    other, still = scored(driver(mouth=MOUTH + 0.4)), scored(driver(mouth=1.0))
    assert value(other, "expression_change_error") < 0.1 * value(still, "expression_change_error")
    assert value(other, "expression.mouth_opening.slope") == pytest.approx(1, abs=0.1)
    assert value(still, "expression.mouth_opening.correlation") < 0.5


def test_a_head_that_moves_across_the_picture_when_the_drivers_does_not_is_seen() -> None:
    assert value(scored(driver(shift=0.1 * np.sin(TIME / 4))), "apd_translation_change") > 1.0


def test_frames_without_a_face_fail_and_none_is_left_out() -> None:
    result = driver()
    result[6:12] = [None] * 6
    found = scored(result)
    assert value(found, "failure_rate") == pytest.approx(6 / FRAMES)
    assert value(found, "landmark_ap_placed") == pytest.approx(1 - 6 / FRAMES, abs=0.01)
    nothing = scored([None] * FRAMES)
    assert value(nothing, "failure_rate") == 1 and value(nothing, "expression_change_error") == 1
    assert value(nothing, "landmark_ap_placed") == 0
    assert estimate(FAILURES, [found, nothing]).value == pytest.approx(30 / 48)


def test_another_picture_in_the_portraits_place_is_seen_and_a_small_motion_is_little() -> None:
    y, x = np.mgrid[:64, :64]
    portrait = np.stack([(x * 4) % 256, (y * 4) % 256, (x + y) * 2], axis=-1).astype(np.uint8)
    truth = Truth(PICTURES, track(driver()))

    def away(picture: np.ndarray, given: np.ndarray | None = portrait) -> float:
        frames = np.repeat(picture[None], FRAMES, axis=0)
        return value(score(Comparison(truth, frames, truth.faces, given), CROSS_METRICS), "portrait_away")

    assert away(portrait) == 0
    assert 0 < away(np.roll(portrait, 1, axis=1)) < 0.2 * away(255 - portrait)
    assert np.isnan(away(portrait, None))


def test_pictures_of_two_people_are_not_compared() -> None:
    reading = [metric.name for metric in CROSS_METRICS if metric.reads in ("pictures", "masks")]
    assert reading == ["portrait_away"], "which looks at the portrait, and not at the driver's picture"
    assert {"l1", "psnr", "ssim", "failure_rate"} <= {metric.name for metric in SELF_METRICS}
    assert len(METRICS) == len(CROSS_METRICS)
