"""Published lists of spans against the files that are here: a table of footage, and what is missing by name.

Nothing is fetched. A file may hold one listed span (as cut by its collectors' rule of naming), or a whole video, of
which the spans are then taken. Files whose name ends in a video's identifier in brackets are known too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.footage.card import Card, read_name
from tasks.footage.listing import Entry, Found, list_files
from tasks.footage.manifest import Row
from tasks.footage.published import ListedSpan, PublishedLists

_BRACKETED = re.compile(r".*\[([\w-]{11})\]")


@dataclass(frozen=True)
class Match:
    """What came of a list: rows for a table, the listed spans without a file, and the files that no list names."""

    rows: tuple[Row, ...]
    missing: tuple[ListedSpan, ...]
    unlisted: tuple[Path, ...]

    @property
    def missing_videos(self) -> dict[str, list[ListedSpan]]:
        """The missing spans by what there is to fetch."""
        videos: dict[str, list[ListedSpan]] = {}
        for span in self.missing:
            videos.setdefault(f"{span.group}/{span.video}" if span.group else span.video, []).append(span)
        return videos


def match_lists(card: Card, lists: PublishedLists, videos: Path, follow_links: bool = False) -> Match:
    """The listed spans and the files below a folder that hold them. Raises ValueError for what is no folder."""
    if not videos.is_dir():
        raise ValueError(f"{videos} is no folder; give the one that holds the files")
    entries = [
        entry
        for entry in list_files(videos, follow_links, frame_folders=True)
        if entry.found in (Found.VIDEO, Found.FRAMES)
    ]
    known = _by_name(videos, entries)
    rows, missing, used = [], [], set()
    for span in lists.spans:
        found = _first(known, (span.clip, *span.other_names))
        whole = found is not None
        found = found or _first(known, span.video_names)
        if found is None:
            missing.append(span)
            continue
        used.add(found.path)
        rows.append(_row(card, span, found, whole))
    unlisted = tuple(entry.path for entry in entries if entry.path not in used)
    return Match(tuple(rows), tuple(missing), unlisted)


def match_lines(card: Card, lists: PublishedLists, match: Match, most: int | None = 20) -> Iterator[str]:
    """What a list asks for, what is here, and every video that is not, with its address (`most` of them)."""
    seconds = sum(span.end_s - span.start_s for span in lists.spans)
    here = seconds - sum(span.end_s - span.start_s for span in match.missing)
    yield (
        f"{card.name}: {len(lists.spans)} spans of {len(lists.videos)} videos are listed, {seconds / 3600:.2f} h; "
        f"{len(match.rows)} spans are here, {here / 3600:.2f} h"
    )
    subjects = {row.subject for row in match.rows}
    yield f"  subjects    {len(subjects)}"
    for problem in lists.problems:
        yield f"  not usable  {problem}"
    lines = [
        f"  missing     {name} ({len(spans)} span{'s' if len(spans) != 1 else ''}"
        f"{f', {spans[0].address}' if spans[0].address else ', no address listed'})"
        for name, spans in match.missing_videos.items()
    ]
    lines += [f"  not listed  {path}" for path in match.unlisted]
    yield from lines[:most]
    if most is not None and len(lines) > most:
        yield f"  … and {len(lines) - most} more lines; --all shows them"


def _by_name(root: Path, entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Files by what they are called: alone, with the folder that they lie in, and by an identifier in brackets."""
    known: dict[str, list[Entry]] = {}
    for entry in entries:
        relative = PurePosixPath(entry.path.relative_to(root).as_posix())
        stem = relative.name if entry.found == Found.FRAMES else relative.stem
        names = {stem}
        if len(relative.parts) > 1:
            names.add(f"{relative.parts[-2]}/{stem}")
        if bracketed := _BRACKETED.fullmatch(stem):
            names.add(bracketed[1])
        for name in names:
            known.setdefault(name, []).append(entry)
    return known


def _first(known: dict[str, list[Entry]], names: Sequence[str]) -> Entry | None:
    for name in names:
        if name in known:
            return known[name][0]
    return None


def _row(card: Card, span: ListedSpan, found: Entry, whole: bool) -> Row:
    name = f"{span.group}_{span.clip}" if span.group else span.clip
    return Row(
        uri=str(found.path.resolve()),
        start_s=0.0 if whole else round(span.start_s, 5),
        end_s=None if whole else round(span.end_s, 5),
        name=name,
        subject=read_name(card, PurePosixPath(f"{name}.mp4")).subject,
        licence=card.licence.of_the_videos.text,
        fps=span.fps if found.found == Found.FRAMES else None,
    )
