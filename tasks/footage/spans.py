"""Long videos as a table of spans: each is an item of its own, so many workers share one video.

A worker takes one item at a time, and a run waits for the last one: twenty minutes of talking alone are ten minutes of
work for one core. Its spans are worked on side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from tasks.footage.content import claimed_seconds
from tasks.footage.manifest import Row
from tasks.footage.pieces import Reading, Root, Source, sources_of


def spans(start_s: float, end_s: float, most_s: float) -> list[tuple[float, float]]:
    """The fewest equal spans of at most `most_s` from start to end, in whole milliseconds."""
    count = max(1, math.ceil((end_s - start_s) / most_s))
    bounds = [round(start_s + (end_s - start_s) * number / count, 3) for number in range(count + 1)]
    return list(pairwise(bounds))


def span_rows(
    root: Root, table: Path, most_s: float, seconds: Callable[[Path], float | None] = claimed_seconds
) -> Iterator[Row]:
    """A row for every span of everything that can be taken of a root, for a table that is to lie at `table`.

    Whole as they are: what is no longer than `most_s`, folders of pictures, and what does not say how long it is. The
    last span of a whole video has no end: what a file claims of its length may be wrong. Raises ValueError for a length
    that is none.
    """
    if not most_s > 0:
        raise ValueError(f"expected spans of more than 0 seconds, got {most_s:g}")
    for source in sources_of(root, Reading()):
        if source.problem is None:
            yield from _rows(source, table, most_s, seconds)


def _rows(source: Source, table: Path, most_s: float, seconds: Callable[[Path], float | None]) -> Iterator[Row]:
    path, folder = Path(source.path), table.absolute().parent
    file = path.is_file()
    end_s = source.end_s if source.end_s is not None else (seconds(path) if file else None)
    cut = [(source.start_s, source.end_s)]
    if file and end_s is not None and end_s - source.start_s > most_s:
        parts = spans(source.start_s, end_s, most_s)
        cut = [*parts[:-1], (parts[-1][0], source.end_s)]
    uri = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else source.path
    for start_s, stop_s in cut:
        yield Row(
            uri=uri,
            start_s=start_s,
            end_s=stop_s,
            subject=source.subject,
            licence=source.licence,
            fps=source.fps,
            split=source.split,
            recorded=source.recorded,
        )
