"""Which checkpoint is best: a declared rule over two numbers, on ranks, so that their units do not matter."""

from __future__ import annotations

import math
from collections.abc import Sequence

RULE = (
    "score = {loss:g} x rank by validation loss + {expression:g} x rank by expression error (1 is best, equal values "
    "share the better rank); lowest score wins, then lower L1, then the earlier checkpoint"
)


def rank(values: Sequence[float]) -> list[int]:
    """Competition ranks of `values`, lowest first: 1, 2, 2, 4. NaN, a value that could not be measured, ranks last."""
    keys = [math.inf if math.isnan(value) else value for value in values]
    return [1 + sum(other < key for other in keys) for key in keys]


def weighted_ranks(
    losses: Sequence[float], expression_errors: Sequence[float], loss_weight: float, expression_weight: float
) -> list[float]:
    """Score of each candidate under `RULE`, lower is better. Raises ValueError when both weights are 0."""
    total = loss_weight + expression_weight
    if total <= 0:
        raise ValueError("selection.loss_weight and selection.expression_weight are both 0: nothing would be compared")
    pairs = zip(rank(losses), rank(expression_errors), strict=True)
    return [(loss_weight * by_loss + expression_weight * by_expression) / total for by_loss, by_expression in pairs]


def order(scores: Sequence[float], l1: Sequence[float]) -> list[int]:
    """Indices of the candidates, best first; candidates come in the order in which training wrote them."""
    return sorted(range(len(scores)), key=lambda i: (scores[i], math.inf if math.isnan(l1[i]) else l1[i], i))
