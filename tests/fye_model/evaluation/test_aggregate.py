"""Aggregates are means over clips with intervals that behave like intervals, and survive strict JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fye_model.evaluation.aggregate import Table, aggregate, bootstrap_interval, compare, is_better
from fye_model.evaluation.scores import ClipScores
from fye_model.evaluation.table import BY_NAME
from tasks.results.tables import table_to_json


def _row(l1: float, landmark: float = 0.1, psnr: float = 30.0, failures: int = 0, frames: int = 8) -> ClipScores:
    means = {"l1": l1, "psnr": psnr, "ssim": 0.9, "landmark_error": landmark}
    return ClipScores(
        frames=frames,
        no_face_in_result=failures,
        no_face_in_truth=0,
        size=(8, 8),
        statistics={name: (value, 1.0) for name, value in means.items()},
        per_frame={},
        signals={},
    )


ROWS = [BY_NAME[name] for name in ("l1", "psnr", "ssim", "landmark_error")]


def _table(clips: list[ClipScores]) -> Table:
    return aggregate(clips, ROWS)


def test_each_clip_counts_once_and_counts_add_up() -> None:
    table = _table([_row(0.1, frames=60), _row(0.3, failures=2, frames=4)])
    assert table.estimates["l1"].value == pytest.approx(0.2)
    assert (table.counts["frames"], table.counts["no_face_in_result"]) == (64, 2)


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    intervals = [bootstrap_interval(rng.normal(5, 1, 40), resamples=400) for _ in range(200)]
    covered = np.mean([low <= 5 <= high for low, high in intervals if low is not None])
    assert 0.88 < covered < 0.99


def test_interval_is_deterministic_and_absent_for_a_single_clip() -> None:
    values = [0.1, 0.2, 0.15, 0.3]
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert _table([_row(value) for value in values]).estimates["l1"].interval == bootstrap_interval(values)
    assert bootstrap_interval([0.1]) is None
    assert bootstrap_interval([0.1, math.inf]) is None


def test_a_mean_over_clips_has_the_digits_of_a_plain_mean() -> None:
    values = list(np.random.default_rng(0).uniform(0, 1, 37))
    estimate = _table([_row(value) for value in values]).estimates["l1"]
    assert estimate.value == float(np.mean(values))
    assert estimate.interval == bootstrap_interval(values)


def test_unmeasured_and_infinite_values_survive_strict_json() -> None:
    table = _table([_row(0.0, landmark=math.nan, psnr=math.inf), _row(0.2, landmark=0.3, psnr=20)])
    written = table_to_json(table)
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert written["psnr"]["mean"] == "inf"
    assert (written["landmark_error"]["mean"], written["landmark_error"]["clips"]) == (0.3, 1)
    nothing = table_to_json(_table([_row(0.1, landmark=math.nan)]))["landmark_error"]
    assert nothing["mean"] is None and "no frame of the truth has a face" in nothing["reason"]


def test_better_means_lower_error_and_higher_similarity_and_a_slope_nearer_to_one() -> None:
    assert is_better("l1", 0.1, 0.2) and not is_better("l1", 0.2, 0.1)
    assert is_better("psnr", "inf", 40.0) and is_better("ssim", 0.9, 0.8)
    assert is_better("expression.mouth_opening.slope", 0.9, 1.5)
    assert is_better("landmark_error", None, 0.1) is None
    assert is_better("l1", 0.1, 0.1) is False


def test_a_paired_interval_sees_what_two_intervals_side_by_side_cannot() -> None:
    rng = np.random.default_rng(1)
    hard = rng.uniform(0.02, 0.2, 12)  # clips differ far more than the methods do
    ours = [_row(float(value)) for value in hard]
    theirs = [_row(float(value)) for value in hard + rng.uniform(0.002, 0.006, 12)]
    first, second = (_table(clips).estimates["l1"].interval for clips in (ours, theirs))
    assert first is not None and second is not None and first[1] > second[0]  # they overlap
    found = compare(BY_NAME["l1"], ours, theirs)
    assert found.outcome == "better" and found.interval is not None and found.interval[1] < 0
    assert compare(BY_NAME["l1"], theirs, ours).outcome == "worse"
    apart = [a.value(ROWS[0]) - b.value(ROWS[0]) for a, b in zip(ours, theirs, strict=True)]
    assert found.value == pytest.approx(np.mean(apart))


def test_methods_that_differ_by_chance_cannot_be_told_apart() -> None:
    rng = np.random.default_rng(2)
    ours, theirs = ([_row(float(value)) for value in rng.normal(0.1, 0.02, 10)] for _ in range(2))
    assert compare(BY_NAME["l1"], ours, theirs).outcome == "cannot tell"
    assert compare(BY_NAME["l1"], ours[:1], theirs[:1]).outcome == "cannot tell"
    with pytest.raises(ValueError, match="same clips"):
        compare(BY_NAME["l1"], ours, theirs[:3])


def test_the_order_of_clips_changes_nothing_but_the_draws() -> None:
    clips = [_row(value) for value in (0.1, 0.25, 0.15, 0.3)]
    assert _table(clips).estimates["l1"].value == pytest.approx(_table(clips[::-1]).estimates["l1"].value, abs=1e-15)


def test_nothing_scored_is_an_error() -> None:
    with pytest.raises(ValueError, match="no scored clip"):
        _table([])
