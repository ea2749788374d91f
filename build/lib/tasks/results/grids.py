"""Tables of texts for people: the same rows as Markdown, as a page that stands alone, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fye_model.evaluation.metric import Metric
from tasks.results.verdict import show

_ARROWS = {"lower": "↓", "higher": "↑", "one": "→1"}

Number = float | str | None  # as `json_number` writes it
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Grid:
    """A table as it is printed: a title, a head and rows of text; the first column names the rows."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def heading(metric: Metric) -> str:
    """A metric's name, unit and which way is better."""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.label}{unit} {_ARROWS[metric.better]}"


def value_text(value: Number, interval: Interval, reason: str | None) -> str:
    """A value with its interval, or why there is none."""
    if value is None:
        return f"– ({reason})" if reason else "–"
    return show(value) + between(interval)


def between(interval: Interval) -> str:
    """An interval in brackets; empty where there is none."""
    return "" if interval is None else f" [{show(interval[0])}, {show(interval[1])}]"


def as_markdown(title: str, tables: Sequence[Grid], notes: Sequence[str]) -> str:
    """A heading, the tables with their own, and the notes as a list."""
    parts = [f"# {title}\n"]
    for table in tables:
        rows = [table.head, tuple("---" for _ in table.head), *table.rows]
        lines = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        parts.append(f"## {table.title}\n\n{lines}\n")
    return "\n".join([*parts, *(f"- {note}" for note in notes)]) + "\n"


def as_page(
    title: str,
    tables: Sequence[Grid],
    notes: Sequence[str],
    more: Sequence[Grid] = (),
    pictures: Sequence[tuple[str, str]] = (),
) -> str:
    """One HTML page, everything in it escaped. more: tables that are folded away below the notes; pictures: title and
    address of each."""
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    ).get_template("grids.html")
    return page.render(title=title, tables=tables, more=more, notes=notes, pictures=pictures)


def as_csv(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows as CSV in UTF-8; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(["" if cell is None else cell for cell in row] for row in rows)
    return text.getvalue().encode()
