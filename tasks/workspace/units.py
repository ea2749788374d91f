"""Seconds, bytes and tables as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def time_text(seconds: float | None) -> str:
    """`90 s`, `4 min`, `2.5 h`; `?` for what is not known."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size_text(size: float | None) -> str:
    """`512 B`, `3 KiB`, `1.2 TiB`; `?` for what is not known."""
    if size is None:
        return "?"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def table_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line for each row, in columns as wide as their longest text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
