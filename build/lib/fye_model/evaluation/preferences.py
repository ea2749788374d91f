"""What raters prefer: mean ranks, shares of wins and of first places, and how far the raters agree.

Every ranking of a case by a rater counts once. Two things are drawn by chance, who rates and which cases are shown,
so intervals resample both, raters and cases each as a whole (the pigeonhole bootstrap, Owen 2007): thirty answers of
one rater are not thirty raters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

INTERVAL = (
    "95% percentile bootstrap, raters and cases resampled as wholes, 2000 resamples, seed 0; those of agreement "
    "resample cases alone; none with fewer than two raters or two cases"
)
_TAILS, _RESAMPLES, _SEED = (2.5, 97.5), 2000, 0
_DEFINED = 0.9  # share of the resamples that must hold a ranking

Interval = tuple[float, float] | None
Choice = Literal["preferred", "not preferred", "cannot tell"]


@dataclass(frozen=True)
class Share:
    """A number and its interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Duel:
    """How often `first` was ranked before `second` (indices of methods), and what the interval says against a half."""

    first: int
    second: int
    wins: Share
    choice: Choice


@dataclass(frozen=True)
class Agreement:
    """How far the raters of a case agree, averaged over the `cases` that two or more raters ranked.

    kendall_w: 1 where all rank alike, about 1 over the number of raters where they rank by chance. rank_correlation:
    mean of Spearman's coefficient over every two raters of a case, 0 by chance.
    """

    kendall_w: Share
    rank_correlation: Share
    cases: int


@dataclass(frozen=True)
class Preferences:
    """Answers to one question. mean_rank and ranked_first: a value a method. rankings: how many answers there are."""

    mean_rank: tuple[Share, ...]
    ranked_first: tuple[Share, ...]
    duels: tuple[Duel, ...]
    agreement: Agreement | None
    raters: int
    cases: int
    rankings: int


def preferences(ranks: np.ndarray) -> Preferences:
    """Aggregate rankings. ranks: (raters, cases, methods), 1 is best, without ties; NaN where a case was not ranked.

    Raises ValueError where nothing was ranked, or where a ranking is not 1 to the number of methods.
    """
    given = ~np.isnan(ranks).any(axis=2)
    if not given.any():
        raise ValueError("no ranking to aggregate")
    methods = ranks.shape[2]
    if methods < 2 or not (np.sort(ranks[given], axis=1) == np.arange(1, methods + 1)).all():
        raise ValueError(f"every ranking must hold the ranks 1 to {methods}, each once, of two methods or more")
    ranks = ranks[given.any(axis=1)][:, given.any(axis=0)]  # raters and cases without an answer are no sample
    given = ~np.isnan(ranks).any(axis=2)
    couples = list(combinations(range(methods), 2))
    filled = np.where(given[..., None], ranks, 0.0)
    wins = np.stack([filled[..., a] < filled[..., b] for a, b in couples], axis=-1)
    values = np.concatenate([filled, filled == 1, wins], axis=2) * given[..., None]
    shares = _over_raters_and_cases(values, given)
    duels = [Duel(a, b, share, _choice(share)) for (a, b), share in zip(couples, shares[2 * methods :], strict=True)]
    return Preferences(
        mean_rank=tuple(shares[:methods]),
        ranked_first=tuple(shares[methods : 2 * methods]),
        duels=tuple(duels),
        agreement=_agreement(filled, given),
        raters=int(ranks.shape[0]),
        cases=int(ranks.shape[1]),
        rankings=int(given.sum()),
    )


def _over_raters_and_cases(values: np.ndarray, given: np.ndarray) -> list[Share]:
    """Means over the given rankings: (r, c, k) values, zero where none is given, and (r, c) -> a share for each k."""
    raters, cases, kinds = values.shape
    means = values.sum(axis=(0, 1)) / given.sum()
    if min(raters, cases) < 2:
        return [Share(float(mean), None) for mean in means]
    rng = np.random.default_rng(_SEED)
    of_raters, of_cases = (_weights(rng, count) for count in (raters, cases))
    totals = np.stack(
        [((of_raters @ values[..., kind]) * of_cases).sum(axis=1) for kind in range(kinds)], axis=-1
    )  # a kind at a time: all at once would take gigabytes
    counts = ((of_raters @ given.astype(float)) * of_cases).sum(axis=1)
    drawn = counts > 0
    if drawn.mean() < _DEFINED:
        return [Share(float(mean), None) for mean in means]
    low, high = np.percentile(totals[drawn] / counts[drawn, None], _TAILS, axis=0)
    return [Share(float(m), (float(a), float(b))) for m, a, b in zip(means, low, high, strict=True)]


def _agreement(ranks: np.ndarray, given: np.ndarray) -> Agreement | None:
    """None where no case was ranked by two raters."""
    methods = ranks.shape[2]
    raters = given.sum(axis=0)
    shared = raters >= 2
    if not shared.any():
        return None
    sums, raters = ranks.sum(axis=0)[shared], raters[shared]
    spread = ((sums - sums.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    kendall_w = 12 * spread / (raters**2 * (methods**3 - methods))  # Kendall and Babington Smith 1939, without ties
    correlation = (raters * kendall_w - 1) / (raters - 1)
    return Agreement(_over_cases(kendall_w), _over_cases(correlation), int(shared.sum()))


def _over_cases(values: np.ndarray) -> Share:
    count = len(values)
    if count < 2:
        return Share(float(values.mean()), None)
    means = _weights(np.random.default_rng(_SEED), count) @ values / count
    low, high = np.percentile(means, _TAILS)
    return Share(float(values.mean()), (float(low), float(high)))


def _weights(rng: np.random.Generator, count: int) -> np.ndarray:
    """(resamples, count): how often each of `count` is drawn when as many are drawn with replacement."""
    return rng.multinomial(count, np.full(count, 1 / count), _RESAMPLES).astype(float)


def _choice(wins: Share) -> Choice:
    if wins.interval is None or wins.interval[0] <= 0.5 <= wins.interval[1]:
        return "cannot tell"
    return "preferred" if wins.value > 0.5 else "not preferred"


def ranks_of(order: Sequence[str], methods: Sequence[str]) -> list[float]:
    """The rank of each method in `order`, which has the best one first; NaN for all unless `order` holds them all."""
    if sorted(order) != sorted(methods):
        return [math.nan] * len(methods)
    return [float(1 + list(order).index(method)) for method in methods]
