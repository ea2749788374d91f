"""Aggregates are means over clips with intervals that behave like intervals, and survive strict JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fye_model.evaluation.aggregate import aggregate, bootstrap_interval, is_better


def _row(l1: float, landmark: float = 0.1, psnr: float = 30.0, failures: int = 0, frames: int = 8) -> dict[str, float]:
    return {
        "frames": frames,
        "l1": l1,
        "psnr": psnr,
        "ssim": 0.9,
        "landmark_error": landmark,
        "landmark_error_found": landmark,
        "no_face_in_result": failures,
        "no_face_in_truth": 0,
    }


def test_each_clip_counts_once_and_counts_add_up() -> None:
    table = aggregate([_row(0.1, frames=60), _row(0.3, failures=2, frames=4)])
    assert table["l1"]["mean"] == pytest.approx(0.2)
    assert (table["frames"], table["no_face_in_result"]) == (64, 2)


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    intervals = [bootstrap_interval(rng.normal(5, 1, 40), resamples=400) for _ in range(200)]
    covered = np.mean([low <= 5 <= high for low, high in intervals if low is not None])
    assert 0.88 < covered < 0.99


def test_interval_is_deterministic_and_absent_for_a_single_clip() -> None:
    values = [0.1, 0.2, 0.15, 0.3]
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval([0.1]) is None
    assert bootstrap_interval([0.1, math.inf]) is None


def test_unmeasured_and_infinite_values_survive_strict_json() -> None:
    table = aggregate([_row(0.0, landmark=math.nan, psnr=math.inf), _row(0.2, landmark=0.3, psnr=20)])
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    assert table["psnr"]["mean"] == "inf"
    assert (table["landmark_error"]["mean"], table["landmark_error"]["clips"]) == (0.3, 1)
    assert aggregate([_row(0.1, landmark=math.nan)])["landmark_error"]["mean"] is None


def test_better_means_lower_error_and_higher_similarity() -> None:
    assert is_better("l1", 0.1, 0.2) and not is_better("l1", 0.2, 0.1)
    assert is_better("psnr", "inf", 40.0) and is_better("ssim", 0.9, 0.8)
    assert is_better("landmark_error", None, 0.1) is None
    assert is_better("l1", 0.1, 0.1) is False


def test_nothing_scored_is_an_error() -> None:
    with pytest.raises(ValueError, match="no scored clip"):
        aggregate([])
