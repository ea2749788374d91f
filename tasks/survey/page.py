"""The review page: every clip of a set with its strip and what the rules said, decided on by key press."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader

from fye_model.files import write_atomic
from fye_model.landmarks.aspects import ASPECTS
from tasks.engine.store import digest
from tasks.survey.coverage import ClipCoverage
from tasks.survey.records import HeldClip, Holdings, LostTrack
from tasks.survey.strips import strip_names, track_name
from tasks.workspace.summary import QuarantineRow

PAGE = "index.html"
STRIPS = "strips"
# what clips may be put in order by: a score's name, how the page calls its order, and which end comes first
ORDERS = (
    ("covered", "most covered first", -1),
    ("lettering", "most lettering first", -1),
    ("offset", "sound furthest from the lips first", -1),
    ("confidence", "lips and sound fitting least first", 1),
)
_LABELS = {aspect.name: aspect.label for aspect in ASPECTS if aspect.group == "expression"}


@dataclass(frozen=True)
class Card:
    """What the page shows of one clip, or of what never became one.

    keys: short reasons to filter by. scores: what there is of those that `ORDERS` names.
    """

    name: str
    facts: str
    reasons: tuple[str, ...]
    keys: tuple[str, ...]
    find: str
    pictures: tuple[str, ...]
    clip: str = ""
    kept: bool = False
    shows: str = ""
    video: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


def clip_card(holdings: Holdings, clip: HeldClip, seen: ClipCoverage, folder: Path) -> Card:
    """A clip's card on the page in `folder`."""
    scores = clip.scores
    facts = (
        clip.subject,
        f"{clip.seconds:.1f} s",
        f"found in {scores.detection_rate:.0%}",
        f"face {clip.face_px:.0f} px",
        f"yaw {round(scores.yaw[0])} to {round(scores.yaw[1])}°",
        f"motion {scores.motion:.2f}",
        *_signs(clip),
        f"id {clip.clip}",
    )
    longest = sorted(seen.seconds.items(), key=lambda pair: -pair[1])
    shown = [f"{_LABELS[name]} {seconds:.1f} s" for name, seconds in longest if name in _LABELS and seconds > 0]
    video = ""
    if holdings.store.local_root is not None:  # a page cannot reach into an object store
        relative = os.path.relpath(holdings.store.local_root / clip.video, folder)
        video = quote(relative)
    return Card(
        name=clip.name,
        facts=" · ".join(facts),
        reasons=clip.reasons,
        keys=tuple(dict.fromkeys(reason_key(reason) for reason in clip.reasons)),
        find=f"{clip.subject} {clip.name} {clip.clip}".lower(),
        pictures=tuple(f"{STRIPS}/{name}" for name in strip_names(clip)),
        clip=clip.clip,
        kept=clip.kept if not clip.by_hand else not (clip.reasons if clip.kept else clip.reasons[1:]),
        shows=", ".join(shown[:4]),
        video=video,
        scores={name: value for name, value in _ordered_by(clip).items() if value is not None},
    )


def _signs(clip: HeldClip) -> Iterator[str]:
    """What was measured of things over the face, on the picture, and of the sound."""
    if clip.covered is not None:
        yield f"covered {clip.covered:.0%}"
    if clip.lettering is not None:
        yield f"lettering {clip.lettering:.0%} of the width"
    offset = clip.sync_offset_s
    if offset is not None and clip.sync_confidence is not None:
        where = "with the lips" if not offset else f"{abs(offset):.2f} s {'before' if offset > 0 else 'after'} the lips"
        yield f"sound {where} (confidence {clip.sync_confidence:.1f})"


def _ordered_by(clip: HeldClip) -> dict[str, float | None]:
    offset = None if clip.sync_offset_s is None else abs(clip.sync_offset_s)
    values = (clip.covered, clip.lettering, offset, clip.sync_confidence)
    return {name: value for (name, _, _), value in zip(ORDERS, values, strict=True)}


def reason_key(reason: str) -> str:
    """The setting that a sentence of screening names, or `by_hand`."""
    found = re.search(r"\(screening\.(\w+)\)", reason)
    return found[1] if found else "by_hand"


def track_card(track: LostTrack, number: int) -> Card:
    """A face track that became no clip."""
    start, end = track.start / track.fps, track.end / track.fps
    reason = f"{track.reason}: {track.end - track.start} frames, {start:.1f} to {end:.1f} s"
    return Card(
        name=track.source,
        facts="a face that was followed",
        reasons=(reason,),
        keys=(track.reason,),
        find=track.source.lower(),
        pictures=(f"{STRIPS}/{track_name(track, number)}",),
    )


def aside_card(row: QuarantineRow) -> Card:
    """A file or clip that was set aside."""
    return Card(
        name=row.name,
        facts=f"set aside in {row.stage}",
        reasons=(row.message or row.reason,),
        keys=(row.reason,),
        find=row.name.lower(),
        pictures=(),
    )


def write_page(
    holdings: Holdings, cards: Sequence[Card], lost: Sequence[Card], known: Mapping[str, bool], folder: Path
) -> Path:
    """Write the page into `folder` and remove strips that it no longer shows; returns its path.

    known: decisions that the work folder has.
    """
    environment = Environment(loader=PackageLoader("tasks.survey", "."), autoescape=True)
    reasons = Counter(key for card in (*cards, *lost) for key in card.keys)
    text = environment.get_template("review.html").render(
        work=holdings.store.url,
        work_id=digest(holdings.store.url)[:16],
        cards=cards,
        lost=lost,
        reasons=sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])),
        known=dict(known),
        orders=[order for order in ORDERS if any(order[0] in card.scores for card in cards)],
    )
    page = folder / PAGE
    write_atomic(page, text.encode())
    _remove_others(folder / STRIPS, (picture for card in (*cards, *lost) for picture in card.pictures))
    return page


def _remove_others(strips: Path, pictures: Iterable[str]) -> None:
    wanted = {Path(picture).name for picture in pictures}
    for path in strips.glob("*.jpg"):
        if path.name not in wanted:
            path.unlink()
