"""A comparison of two runs for people: one Markdown text."""

from __future__ import annotations

from fye_model.evaluation.metrics import MISSING_NOTE
from tasks.results.comparison import TITLES, Cell, RunComparison, Section, Side
from tasks.results.verdict import show

_ARROWS = {"lower": "↓", "higher": "↑", "one": "→1"}
_HOW_TO_READ = (
    "A − B is taken on the same clips; for a metric that is best at one (→1), of the distances from one. Better and "
    "worse are said of A, where the whole interval is on one side of 0."
)


def markdown(found: RunComparison) -> str:
    """The comparison for people: who, the sentence, the table, and what it has to be read with."""
    lines = ["# A against B", "", f"- A: {_who(found.a)}", f"- B: {_who(found.b)}", ""]
    for section in found.sections:
        lines += [f"## {TITLES[section.task].capitalize()}, {len(section.clips)} clips that both have", ""]
        lines += [section.sentence, "", *_table(section), ""]
    lines += [_HOW_TO_READ, ""]
    lines += [f"- interval: {found.interval}"]
    lines += [f"- only in {side}, not compared: {', '.join(names)}" for side, names in _lone(found) if names]
    for section in found.sections:
        lines += [f"- {name}: {reason}" for name, reason in section.not_compared.items()]
    lines += [f"- {MISSING_NOTE}"]
    changed = [
        name
        for name in dict.fromkeys([*found.a.settings, *found.b.settings])
        if found.a.settings.get(name) != found.b.settings.get(name)
    ]
    lines += [f"- {name} differs: A {found.a.settings.get(name)}, B {found.b.settings.get(name)}" for name in changed]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in found.terms.items()]
    return "\n".join(lines) + "\n"


def _who(side: Side) -> str:
    return f"{side.method} of {side.folder}"


def _lone(found: RunComparison) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return ("A", found.only_in_a), ("B", found.only_in_b)


def _table(section: Section) -> list[str]:
    head = ("metric", "A", "B", "A − B", "A is")
    cells: list[tuple[str, ...]] = [
        (
            f"{row.label}{f' ({row.unit})' if row.unit else ''} {_ARROWS[row.better]}",
            _shown(row.a),
            _shown(row.b),
            _shown(row.difference),
            row.outcome,
        )
        for row in section.rows
    ]
    cells += [(name.replace("_", " "), str(a), str(b), str(a - b), "") for name, (a, b) in section.counts.items()]
    rows = [head, tuple("---" for _ in head), *cells]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def _shown(cell: Cell) -> str:
    if cell.value is None:
        return f"– ({cell.reason})" if cell.reason else "–"
    between = "" if cell.interval is None else f" [{show(cell.interval[0])}, {show(cell.interval[1])}]"
    return show(cell.value) + between
