"""Rankings become numbers that a hand count agrees with, and intervals that know raters and cases apart."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, spearmanr

from fye_model.evaluation.preferences import preferences, ranks_of

METHODS = ("a", "b", "c")


def _drawn(raters: int, cases: int, methods: int, *, skill: float, taste: float = 0.0, seed: int = 0) -> np.ndarray:
    """Rankings by noisy quality: `skill` parts the methods, `taste` is what a rater thinks of a method in all cases."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(0, 1, (raters, cases, methods)) - skill * np.arange(methods)
    quality = quality + rng.normal(0, taste, (raters, 1, methods))
    return (1 + np.argsort(np.argsort(-quality, axis=2), axis=2)).astype(float)


def test_a_hand_count_agrees() -> None:
    ranks = np.full((2, 2, 3), np.nan)
    ranks[0, 0] = ranks_of("abc", METHODS)
    ranks[0, 1] = ranks_of("bac", METHODS)
    ranks[1, 0] = ranks_of("acb", METHODS)
    found = preferences(ranks)
    assert [share.value for share in found.mean_rank] == pytest.approx([4 / 3, 2, 8 / 3])
    assert [share.value for share in found.ranked_first] == pytest.approx([2 / 3, 1 / 3, 0])
    assert {(duel.first, duel.second): duel.wins.value for duel in found.duels} == pytest.approx(
        {(0, 1): 2 / 3, (0, 2): 1.0, (1, 2): 2 / 3}
    )
    assert (found.raters, found.cases, found.rankings) == (2, 2, 3)
    assert found.agreement is not None and found.agreement.cases == 1
    assert found.agreement.rank_correlation.value == pytest.approx(spearmanr([1, 2, 3], [1, 3, 2]).statistic)


def test_agreement_is_kendalls_and_the_mean_of_all_pairs() -> None:
    ranks = _drawn(5, 4, 4, skill=0.5)
    found = preferences(ranks).agreement
    assert found is not None
    by_friedman = [friedmanchisquare(*ranks[:, case].T).statistic / (5 * 3) for case in range(4)]
    assert found.kendall_w.value == pytest.approx(np.mean(by_friedman))
    pairs = [
        spearmanr(ranks[i, case], ranks[j, case]).statistic for case in range(4) for i, j in combinations(range(5), 2)
    ]
    assert found.rank_correlation.value == pytest.approx(np.mean(pairs))


def test_agreement_is_one_for_one_opinion_and_about_none_by_chance() -> None:
    same = np.broadcast_to(np.array([2.0, 1.0, 3.0]), (6, 10, 3))
    found = preferences(same).agreement
    assert found is not None and (found.kendall_w.value, found.rank_correlation.value) == pytest.approx((1, 1))
    chance = preferences(_drawn(6, 200, 3, skill=0)).agreement
    assert chance is not None and abs(chance.rank_correlation.value) < 0.05


def test_a_clear_winner_is_preferred_and_equals_cannot_be_told_apart() -> None:
    clear = preferences(_drawn(12, 20, 2, skill=2.0)).duels[0]
    assert clear.choice == "preferred" and clear.wins.interval is not None and clear.wins.interval[0] > 0.5
    assert preferences(_drawn(12, 20, 2, skill=-2.0)).duels[0].choice == "not preferred"
    assert preferences(_drawn(12, 20, 2, skill=0.0)).duels[0].choice == "cannot tell"


def test_many_answers_of_few_raters_with_tastes_are_not_many_raters() -> None:
    """Intervals over single answers would call one of two equal methods the better one nearly always."""
    widths, wrong = [], 0
    for seed in range(40):
        duel = preferences(_drawn(6, 40, 2, skill=0.0, taste=2.0, seed=seed)).duels[0]
        assert duel.wins.interval is not None
        widths.append(duel.wins.interval[1] - duel.wins.interval[0])
        wrong += duel.choice != "cannot tell"
    assert np.mean(widths) > 0.25  # 240 independent answers would give 0.13
    assert wrong <= 8


def test_raters_without_an_answer_and_cases_that_nobody_ranked_change_nothing() -> None:
    ranks = _drawn(4, 6, 3, skill=0.5)
    more = np.full((6, 9, 3), np.nan)
    more[1:5, 2:8] = ranks
    assert preferences(more) == preferences(ranks)


def test_one_rater_or_one_case_has_no_interval() -> None:
    for ranks in (_drawn(1, 9, 3, skill=1), _drawn(9, 1, 3, skill=1)):
        found = preferences(ranks)
        assert all(share.interval is None for share in (*found.mean_rank, *found.ranked_first))
        assert {duel.choice for duel in found.duels} == {"cannot tell"}
    assert preferences(_drawn(1, 9, 3, skill=1)).agreement is None


def test_what_is_no_ranking_is_refused() -> None:
    with pytest.raises(ValueError, match="no ranking"):
        preferences(np.full((2, 2, 3), np.nan))
    with pytest.raises(ValueError, match="ranks 1 to 3"):
        preferences(np.array([[[1.0, 1.0, 3.0]]]))
    assert all(math.isnan(rank) for rank in ranks_of("ab", METHODS))
    assert all(math.isnan(rank) for rank in ranks_of("abb", METHODS))
