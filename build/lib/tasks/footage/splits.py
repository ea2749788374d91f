"""Which names are held out: by a published list or a table where there is one, else by a hash of seed and name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

Side = Literal["train", "val"]


def held_out(names: Iterable[str], fraction: float, seed: int, fixed: Mapping[str, Side] | None = None) -> set[str]:
    """The names that are held out, about `fraction` of those whose side is not `fixed`.

    A name's side depends on the seed and itself, so it stays there when others come and go; only where nobody would be
    held out the nearest one is. A single one is trained on whole.
    """
    fixed = fixed or {}
    every = set(names)
    chosen = {name for name in every if fixed.get(name) == "val"}
    free = every - fixed.keys()
    ranked = sorted((_draw(seed, name), name) for name in free)
    chosen |= {name for draw, name in ranked if draw < fraction}
    if len(every) < 2:
        return {name for name in chosen if name in fixed}
    if not chosen and ranked:
        chosen = {ranked[0][1]}
    elif len(chosen) == len(every) and ranked:
        chosen.remove(ranked[-1][1])
    return chosen


def _draw(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on seed and name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") / 2**64
