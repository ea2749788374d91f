"""Tables of texts for people: the same rows as Markdown, as a page that stands alone, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@dataclass(frozen=True)
class Grid:
    """A table as it is printed: a title, a head and rows of text; the first column names the rows."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def as_markdown(title: str, tables: Sequence[Grid], notes: Sequence[str]) -> str:
    """A heading, the tables with their own, and the notes as a list."""
    parts = [f"# {title}\n"]
    for table in tables:
        rows = [table.head, tuple("---" for _ in table.head), *table.rows]
        lines = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        parts.append(f"## {table.title}\n\n{lines}\n")
    return "\n".join([*parts, *(f"- {note}" for note in notes)]) + "\n"


def as_page(title: str, tables: Sequence[Grid], notes: Sequence[str], more: Sequence[Grid] = ()) -> str:
    """One HTML page, everything in it escaped. more: tables that are folded away below the notes."""
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    ).get_template("grids.html")
    return page.render(title=title, tables=tables, more=more, notes=notes)


def as_csv(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows as CSV in UTF-8; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(["" if cell is None else cell for cell in row] for row in rows)
    return text.getvalue().encode()
