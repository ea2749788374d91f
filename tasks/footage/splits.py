"""What is held out: names by a published list or a table, else by a hash of seed and name; or the tail of each clip."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from fye_model.config import SplitConfig

MIN_VAL_FRAMES = 8  # a held-out tail shorter than this shows no motion
MIN_TRAIN_FRAMES = 16  # what must be left of a clip before a tail is taken off

Side = Literal["train", "val"]
Span = tuple[int, int]


@dataclass(frozen=True)
class Spans:
    """Half-open frame spans of a clip; (0, 0) is empty."""

    train: Span
    val: Span


class Splittable(Protocol):
    """What is known of a clip for the split."""

    @property
    def clip(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def frames(self) -> int: ...
    @property
    def side(self) -> Side | None: ...


def tail(frames: int, holdout: float) -> Spans:
    """A clip whose end is held out, where it is long enough for both parts."""
    held = max(round(holdout * frames), MIN_VAL_FRAMES)
    if frames - held < MIN_TRAIN_FRAMES:
        return Spans((0, frames), (0, 0))
    return Spans((0, frames - held), (frames - held, frames))


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


def grouped(together: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name -> the name of its group, the first of the alphabet, of all names that some chain of pairs connects."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            name = above[name]
        return name

    for pair in together:
        one, other = sorted(map(top, pair))
        above[other] = one
    return {name: top(name) for name in above}


def split(
    rows: Sequence[Splittable], config: SplitConfig, together: Iterable[tuple[str, str]] = ()
) -> dict[str, Spans]:
    """Training and held-out span of every clip: by whole subjects, whole clips, or the tail of each clip.

    together: two subjects (or clips) each that belong on one side, because copies say that they are the same.

    rows: `clip`, `subject`, `frames`, `side`. A subject's or clip's side depends on the seed and its own name, so it
    stays there when others come and go; only where nobody would be held out the nearest one is. A source that says on
    which side its subjects are goes before that. A single one is trained on whole: a data set may begin with it, and
    training says what it lacks. With `all`, everything is held out. With `config.subjects`, clips of the subjects that
    are one too many to train on have neither span.
    """
    if config.by == "tail":
        return {row.clip: tail(row.frames, config.holdout) for row in rows}
    if config.by == "all":
        return {row.clip: Spans((0, 0), (0, row.frames)) for row in rows}
    joined = grouped(together)
    units = {row.clip: row.subject if config.by == "subject" else row.clip for row in rows}
    units = {clip: joined.get(unit, unit) for clip, unit in units.items()}
    said = sorted((units[row.clip], row.side) for row in rows if row.side is not None)
    fixed = dict(reversed(said))  # where one is said to be on both sides, all of them are trained on
    chosen = held_out(units.values(), config.holdout, config.seed, fixed)
    trained = _trained_on(set(units.values()) - chosen, config)
    spans = {}
    for row in rows:
        unit, whole, empty = units[row.clip], (0, row.frames), (0, 0)
        spans[row.clip] = Spans(whole if unit in trained else empty, whole if unit in chosen else empty)
    return spans


def _trained_on(names: set[str], config: SplitConfig) -> set[str]:
    """The subjects that train: those that are last to be held out, so that few stay few when more is held out."""
    ranked = sorted(names, key=lambda name: (_draw(config.seed, name), name), reverse=True)
    return set(ranked[: config.subjects])


def _draw(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on seed and name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") / 2**64
