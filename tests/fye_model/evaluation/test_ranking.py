"""The selection rule ranks as declared, whatever the units."""

from __future__ import annotations

import math

import pytest

from fye_model.evaluation.ranking import order, rank, weighted_ranks


def test_equal_values_share_a_rank_and_unmeasured_ones_come_last() -> None:
    assert rank([0.3, 0.1, 0.3, math.nan, 0.2]) == [3, 1, 3, 5, 2]
    assert rank([math.nan, math.inf, 1.0]) == [2, 2, 1]


def test_scores_depend_on_ranks_and_not_on_units() -> None:
    losses, errors = [0.5, 0.4, 0.3], [0.02, 0.05, 0.04]
    scores = weighted_ranks(losses, errors, 0.5, 0.5)
    assert scores == [2.0, 2.5, 1.5]
    assert weighted_ranks([v * 1000 for v in losses], errors, 0.5, 0.5) == scores
    assert weighted_ranks(losses, errors, 1.0, 0.0) == [3, 2, 1]
    assert weighted_ranks(losses, errors, 0.0, 0.2) == pytest.approx([1, 3, 2])


def test_ties_go_to_lower_l1_and_then_to_the_earlier_checkpoint() -> None:
    assert order([1.5, 1.5, 1.5], [0.2, 0.1, 0.1]) == [1, 2, 0]
    assert order([2.0, 1.0], [0.0, 0.9]) == [1, 0]


def test_a_rule_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="both 0"):
        weighted_ranks([1.0], [1.0], 0, 0)
