"""Which pairs a study shows, and under which letter each method is hidden: by seed alone."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tasks.bench.manifest import Bench, PairRow
from tasks.study.manifest import LETTERS, Case, Which


def choose_pairs(bench: Bench, which: Which, count: int, seed: int) -> list[PairRow]:
    """`count` pairs of a bench in random order, all there are where they are fewer.

    Raises ValueError where the bench has no pair of that kind.
    """
    there = sorted((pair for pair in bench.pairs if which in (pair.kind, "all")), key=lambda pair: pair.name)
    if not there:
        raise ValueError(f"the bench {bench.folder} has no {which} pairs; choose others with --pairs")
    return random.Random(seed).sample(there, min(count, len(there)))


def hide(pairs: Sequence[PairRow], methods: Sequence[str], seed: int) -> tuple[Case, ...]:
    """Cases in the order of `pairs`, each with the methods under letters of its own order."""
    source = random.Random(f"letters {seed}")
    digits = len(str(len(pairs)))
    return tuple(
        Case(
            id=f"c{number:0{digits}}",
            portrait=pair.portrait,
            driving=pair.driving,
            kind=pair.kind,
            slots=dict(zip(LETTERS, source.sample(sorted(methods), len(methods)), strict=False)),
        )
        for number, pair in enumerate(pairs, 1)
    )
