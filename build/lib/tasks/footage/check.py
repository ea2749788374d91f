"""A folder or table of footage held against its card: counts, what is missing by name, subjects, splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tasks.footage.card import TALKING, Card
from tasks.footage.pieces import Source
from tasks.footage.splits import held_out

_MOST = 20


@dataclass(frozen=True)
class Checked:
    """What was found, as lines for people; `complete` when nothing is missing and nothing is wrong."""

    lines: tuple[str, ...]
    complete: bool


def check_footage(card: Card, pieces: Sequence[Source], seconds_of: Callable[[Source], float | None]) -> Checked:
    """Hold what was found against the card. `seconds_of` a piece: as its file says, None where it does not."""
    taken = [piece for piece in pieces if piece.problem is None]
    seconds = [seconds_of(piece) for piece in taken]
    lines = [f"{card.name}: {card.title}", f"  licence     {card.licence.of_the_videos.text}{_verified(card)}"]
    hours = sum(length or 0.0 for length in seconds) / 3600
    found = {"videos": float(len(taken)), "subjects": float(len({piece.subject for piece in taken})), "hours": hours}
    short = False
    for what, number in found.items():
        wanted = getattr(card.counts, what)
        less = wanted is not None and number < wanted * 0.995
        short |= less
        lines.append(f"  {what:<11} {number:.4g}{_of(wanted, less)}")
    if card.counts.clips is not None:
        lines.append(f"  clips       counted by the pipeline; {card.counts.clips:,} expected")
    gaps = list(_takes(card, taken, seconds))
    wrong = [f"  not usable  {piece.problem[1]}" for piece in pieces if piece.problem and not piece.passed_over]
    odd = [
        f"  misnamed    {piece.name}: not as the layout says ({card.layout})" for piece in taken if not piece.by_layout
    ]
    over = Counter(piece.problem[0] for piece in pieces if piece.problem and piece.passed_over)
    lines += [*_cut(gaps), *_cut(wrong), *_cut(odd)]
    lines += [f"  passed over {count} × {reason}" for reason, count in sorted(over.items())]
    lines += _split(card, taken)
    return Checked(tuple(lines), not (short or gaps or wrong))


def _takes(card: Card, taken: Sequence[Source], seconds: Sequence[float | None]) -> Iterator[str]:
    """Per subject: which of the card's recordings are missing, and how much talking there is."""
    if not card.take_names:
        return
    minutes: dict[str, float] = {}
    had: dict[str, set[str]] = {}
    places: dict[str, set[str]] = {}
    for piece, length in zip(taken, seconds, strict=True):
        had.setdefault(piece.subject, set()).update([piece.take] if piece.take else [])
        places.setdefault(piece.subject, set()).update([piece.place] if piece.place else [])
        if piece.take == TALKING:
            minutes[piece.subject] = minutes.get(piece.subject, 0.0) + (length or 0.0) / 60
    wanted = card.counts.talking_minutes_per_subject or 0.0
    for subject in sorted(had):
        missing = [take for take in card.take_names if take not in had[subject]]
        said = [f"{len(missing)} of {len(card.take_names)} expressions: {', '.join(missing)}"] if missing else []
        if (talked := minutes.get(subject, 0.0)) < wanted * 0.95:
            said.append(f"{talked:.1f} of {wanted:g} minutes of talking")
        if said:
            where = f" ({' and '.join(sorted(places[subject]))})" if places[subject] else ""
            yield f"  missing     {subject}{where}: {'; '.join(said)}"


def _split(card: Card, taken: Iterable[Source]) -> Iterator[str]:
    rule = card.held_out
    fixed = {piece.subject: piece.split for piece in taken if piece.split is not None}
    subjects = {piece.subject for piece in taken}
    if rule.by == "tail":
        yield f"  held out    the last {rule.fraction:.0%} of every clip"
        return
    chosen = held_out(subjects, rule.fraction, rule.seed or 0, fixed)
    how = "by the published list or the table" if fixed else f"{rule.fraction:.0%} by hash, seed {rule.seed}"
    names = ", ".join(sorted(chosen)[:_MOST]) + (" …" if len(chosen) > _MOST else "")
    yield f"  held out    {len(chosen)} of {len(subjects)} subjects ({how}){': ' + names if names else ''}"


def _verified(card: Card) -> str:
    return "" if card.licence.of_the_videos.verified else " (not verified)"


def _of(wanted: float | None, less: bool) -> str:
    return "" if wanted is None else f" of {wanted:g} expected{': fewer' if less else ''}"


def _cut(lines: Sequence[str]) -> list[str]:
    more = [f"  … and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return [*lines[:_MOST], *more]
