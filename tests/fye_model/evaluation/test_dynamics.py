"""THEval's lip and brow dynamics: how much is moved, against the truth, whether or not it is the right movement."""

from __future__ import annotations

import numpy as np
import pytest

from fye_model.evaluation.aggregate import aggregate, estimate
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.dynamics import brow_dynamics, lip_dynamics
from fye_model.evaluation.faces import FaceTrack
from fye_model.evaluation.scores import ClipScores, score
from fye_model.evaluation.table import BY_NAME
from tests.fye_model.evaluation.moving_face import face, track

FRAMES = 24
WAVE = np.sin(np.arange(FRAMES) / 3)
PICTURES = np.zeros((FRAMES, 32, 32, 3), np.uint8)
METRICS = [BY_NAME["dynamics.lips"], BY_NAME["dynamics.brows"]]
ALL = np.ones(FRAMES, bool)
_BROWS = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107, 276, 283, 282, 295, 285, 300, 293, 334, 296, 336)


def _points(mouth: np.ndarray, brows: np.ndarray) -> list[np.ndarray | None]:
    faces: list[np.ndarray | None] = []
    for fallen, raised in zip(mouth, brows, strict=True):
        points = face(mouth=fallen)
        points[list(_BROWS), 1] -= raised
        faces.append(points)
    return faces


def _talking(much: float = 1.0) -> list[np.ndarray | None]:
    return _points(1 + much * WAVE, 0.02 * much * WAVE)


def _scored(result: list[np.ndarray | None], truth: list[np.ndarray | None] | None = None) -> ClipScores:
    driver = Truth(PICTURES, track(truth or _talking()))
    return score(Comparison(driver, PICTURES, track(result)), METRICS)


def _values(found: ClipScores) -> tuple[float, float]:
    return found.value(METRICS[0]), found.value(METRICS[1])


def test_a_copy_scores_one_half_the_amplitude_a_half_and_a_frozen_face_nothing() -> None:
    assert _values(_scored(_talking())) == (1, 1)
    assert _values(_scored(_talking(0.5))) == pytest.approx((0.5, 0.5), abs=0.05)
    assert _values(_scored(_talking(1.5))) == pytest.approx((0.5, 0.5), abs=0.05), "too much is as wrong as too little"
    assert _values(_scored(_talking(0))) == pytest.approx((0, 0), abs=1e-9)


def test_lips_and_brows_are_seen_apart() -> None:
    assert _values(_scored(_points(1 + WAVE, 0 * WAVE))) == pytest.approx((1, 0), abs=0.02)
    assert _values(_scored(_points(1 + 0 * WAVE, 0.02 * WAVE))) == pytest.approx((0, 1), abs=0.02)


def test_it_does_not_ask_whether_the_movement_is_the_right_one() -> None:
    assert _values(_scored(_points(1 - WAVE, -0.02 * WAVE))) == pytest.approx((1, 1), abs=0.02)


def test_frames_without_a_face_count_as_ones_that_do_not_move() -> None:
    blind = [None if frame % 2 else points for frame, points in enumerate(_talking())]
    lips, brows = _values(_scored(blind))
    assert lips < 0.8 and brows < 1
    assert _values(_scored([None] * FRAMES)) == (0, 0)


def test_a_still_truth_is_missing_with_a_reason_and_clips_are_pooled_before_they_are_compared() -> None:
    still = _scored(_talking(), [face()] * FRAMES)
    assert np.isnan(_values(still)).all()
    assert "does not move" in str(estimate(METRICS[0], [still]).reason)
    more, less = _scored(_talking(1.5)), _scored(_talking(0.5))
    assert aggregate([more, less], METRICS).estimates["dynamics.lips"].value == pytest.approx(1, abs=0.03)


def test_the_numbers_are_those_of_the_definition() -> None:
    moving: FaceTrack = track(_points(1 + WAVE, 0.02 * WAVE), size=100)
    lips = moving.points[:, list(_LIPS), :2] * 256
    pairs = [(a, b) for a in range(40) for b in range(a)]
    spread = [np.std([np.hypot(*(frame[a] - frame[b])) for frame in lips]) for a, b in pairs]
    assert lip_dynamics(moving, ALL) == pytest.approx(np.mean(spread), rel=1e-12)
    larger = FaceTrack(moving.points, None, 200, 200, moving.geometry)
    assert lip_dynamics(larger, ALL) == lip_dynamics(moving, ALL), "in pixels of 256, whatever the picture's size"
    assert brow_dynamics(larger, ALL) == pytest.approx(brow_dynamics(moving, ALL), rel=1e-12)
    eyes = moving.pixels[0][[33, 133]].mean(axis=0), moving.pixels[0][[263, 362]].mean(axis=0)
    steps = np.abs(np.diff(0.02 * WAVE)).mean() * 100 / np.linalg.norm(eyes[0] - eyes[1])
    assert brow_dynamics(moving, ALL) == pytest.approx(steps, rel=0.1)


_LIPS = (
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
)
