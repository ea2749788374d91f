"""The review of a data set: strips of every clip and one page on which people decide. No stage: it changes no result.

Strips are kept beside the page and made once; what people decide becomes part of screening's key when it is brought in
(`tasks/workspace/decisions.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.jobs.holdings import read_holdings
from tasks.survey.coverage import cover_clip
from tasks.survey.page import STRIPS, aside_card, clip_card, track_card, write_page
from tasks.survey.records import HeldClip, Holdings
from tasks.survey.strips import copy_track, draw_clip, track_name
from tasks.workspace.decisions import read_decisions

logger = logging.getLogger(__name__)
_SAY_EVERY_S = 5.0

Which = Literal["all", "kept", "rejected"]


@dataclass(frozen=True)
class Reviewed:
    """The page, and how many clips and lost ones are on it."""

    page: Path
    clips: int
    lost: int


def review(work: str, output: Path | None = None, which: Which = "all", subject: str | None = None) -> Reviewed:
    """Make the page of a work folder, in its `review` folder or in `output`.

    Raises ValueError where no run has ended, where no clip is as asked for, or where `output` is no folder.
    """
    holdings = read_holdings(work)
    folder = _folder(holdings, output)
    clips = [
        clip
        for clip in sorted(holdings.clips, key=lambda clip: (clip.subject, clip.name))
        if (which == "all" or clip.kept == (which == "kept")) and subject in (None, clip.subject)
    ]
    everything = which == "all" and subject is None
    if not clips and not everything:
        subjects = ", ".join(sorted({clip.subject for clip in holdings.clips})[:20])
        raise ValueError(f"no clip of {work} is {which} of subject {subject}; the subjects are {subjects or 'none'}")
    strips = folder / STRIPS
    strips.mkdir(parents=True, exist_ok=True)
    cards = []
    for clip in _told(clips):
        draw_clip(holdings, clip, strips)
        cards.append(clip_card(holdings, clip, cover_clip(holdings, clip), folder))
    lost = []
    if which != "kept" and subject is None:
        for number, track in enumerate(holdings.tracks):
            copy_track(holdings, track, strips / track_name(track, number))
            lost.append(track_card(track, number))
        lost += [aside_card(row) for row in holdings.set_aside]
    known = {clip: decision.keep for clip, decision in read_decisions(holdings.store).items()}
    page = write_page(holdings, cards, lost, {name: keep for name, keep in known.items() if keep is not None}, folder)
    return Reviewed(page, len(cards), len(lost))


def _folder(holdings: Holdings, output: Path | None) -> Path:
    if output is None:
        if holdings.store.local_root is None:
            raise ValueError(
                f"{holdings.store.url} is not a folder of this machine; give one for the page: --output DIR"
            )
        return holdings.store.local_root / "review"
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; give a folder")
    return output.absolute()


def _told(clips: list[HeldClip]) -> Iterator[HeldClip]:
    """The clips, with a line every few seconds."""
    begun = said = time.monotonic()
    for number, clip in enumerate(clips):
        yield clip
        now = time.monotonic()
        if now - said > _SAY_EVERY_S:
            said = now
            left = (now - begun) / (number + 1) * (len(clips) - number - 1)
            logger.warning("strips: %d of %d, %.0f s left", number + 1, len(clips), left)
