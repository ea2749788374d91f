"""The report's run against the one before it in the same work folder, clip by clip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.table import METRICS
from tasks.results.comparison import TITLES, Cell, Row, Section, compare_runs
from tasks.results.report_rows import MetricRow, Value, interval, row_of
from tasks.results.runs import read_evaluation
from tasks.results.verdict import show

_TOLD = {metric.name for metric in (*METRICS, *CROSS_METRICS) if metric.decides} | {"identity", "blinks.recall"}
_THIS, _BEFORE = Path("this run"), Path("the previous run")  # in place of folders, in what is said


@dataclass(frozen=True)
class Part:
    """One task: its title, what is said in one sentence, the rows that decide, and the other ones."""

    title: str
    sentence: str
    rows: tuple[MetricRow, ...]
    others: tuple[MetricRow, ...]


@dataclass(frozen=True)
class Against:
    """What the comparison says. refused: why there is none. alone: clips that only one of the two has."""

    parts: tuple[Part, ...] = ()
    refused: str = ""
    alone: tuple[str, ...] = ()


def against(this: Path, before: Path) -> Against:
    """Compare two evaluations' folders. What was measured otherwise, or by another version, is refused with words."""
    try:
        a, b = (replace(read_evaluation(folder), folder=name) for folder, name in ((this, _THIS), (before, _BEFORE)))
        found = compare_runs(a, b)
    except ValueError as error:
        return Against(refused=str(error).replace(str(this), str(_THIS)).replace(str(before), str(_BEFORE)))
    alone = [f"{name}: only in {_THIS}" for name in found.only_in_a]
    alone += [f"{name}: only in {_BEFORE}" for name in found.only_in_b]
    return Against(tuple(_part(section) for section in found.sections), "", tuple(alone))


def _part(section: Section) -> Part:
    rows = [(row.metric in _TOLD, _row(row)) for row in section.rows]
    return Part(
        title=TITLES[section.task].capitalize(),
        sentence=section.sentence,
        rows=tuple(row for told, row in rows if told),
        others=tuple(row for told, row in rows if not told),
    )


def _row(row: Row) -> MetricRow:
    return row_of(
        label=f"{row.label}, {row.unit}" if row.unit else row.label,
        better=row.better,
        decides=False,
        values=(_value(row.a), _value(row.b), _value(row.difference)),
        outcome=row.outcome,
        reason="" if row.a.value is not None or row.b.value is not None else row.a.reason or "nothing to compare",
    )


def _value(cell: Cell) -> Value:
    return Value(show(cell.value), interval(cell.interval))
