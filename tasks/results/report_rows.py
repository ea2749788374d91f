"""The report's tables as rows of texts: metrics by question, signals, strata, clips, checkpoints, terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fye_model.evaluation.metric import Metric
from fye_model.evaluation.table import BY_NAME, METRICS
from tasks.results.verdict import counted, show

_BETTER = {"lower": "lower is better", "higher": "higher is better", "one": "1 is best"}
_TONES = {"better": "win", "worse": "lose", "cannot tell": ""}
_QUESTIONS = {
    "expression": "Did it perform the expression?",
    "pose": "Did the head turn as the driver's?",
    "landmarks": "Are the points where they should be?",
    "picture": "Is it the same picture?",
    "identity": "Is it still the same person?",
}
_KINDS = ("correlation", "slope", "error")  # of a signal, as the last part of a metric's name
_SELECTION = ("expression_error", "expression_correlation", "landmark_error", "l1", "ssim")


@dataclass(frozen=True)
class Value:
    """A value as text, the interval below it, and the tone in which it is shown (`win`, `lose` or none)."""

    text: str
    interval: str = ""
    tone: str = ""


@dataclass(frozen=True)
class MetricRow:
    """A metric of model and baseline, and their difference. reason: why nothing is measured, where that is so."""

    label: str
    arrow: str
    decides: bool
    model: Value
    baseline: Value
    difference: Value
    outcome: str
    tone: str
    reason: str = ""


@dataclass(frozen=True)
class SignalRow:
    """A signal's correlation, slope and error, (model, baseline) each; None where that is no metric."""

    label: str
    cells: tuple[tuple[Value, Value] | None, ...]


@dataclass(frozen=True)
class MetricGroup:
    """The metrics that answer a question. signal_kinds: heads of `signals`, whose full rows are in `signal_rows`."""

    title: str
    rows: tuple[MetricRow, ...]
    signal_kinds: tuple[str, ...]
    signals: tuple[SignalRow, ...]
    signal_rows: tuple[MetricRow, ...]


def metric_groups(table: Mapping[str, Any], metrics: Sequence[Metric] = METRICS) -> list[MetricGroup]:
    """The metrics of metrics.json, or of its cross part, by the question that they answer; those of signals apart."""
    groups = []
    for question, title in _QUESTIONS.items():
        asked = [metric for metric in metrics if metric.question == question]
        of_signals = [metric for metric in asked if _signal(metric) is not None]
        kinds = tuple(kind for kind in _KINDS if any(metric.name.endswith(f".{kind}") for metric in of_signals))
        names = dict.fromkeys(_signal(metric) for metric in of_signals)
        group = MetricGroup(
            title,
            tuple(_metric_row(metric, table) for metric in asked if metric not in of_signals),
            kinds,
            tuple(_signal_row(str(name), kinds, of_signals, table) for name in names),
            tuple(_metric_row(metric, table) for metric in of_signals),
        )
        if asked:
            groups.append(group)
    return groups


def _signal(metric: Metric) -> str | None:
    """`expression.mouth_opening` of a metric of that signal; None for one of no signal."""
    name, _, kind = metric.name.rpartition(".")
    return name if kind in _KINDS and "." in name else None


def _signal_row(name: str, kinds: Sequence[str], metrics: Sequence[Metric], table: Mapping[str, Any]) -> SignalRow:
    found = {metric.name: metric for metric in metrics}
    cells: list[tuple[Value, Value] | None] = []
    for kind in kinds:
        metric = found.get(f"{name}.{kind}")
        if metric is None:
            cells.append(None)
            continue
        outcome = table["difference"][metric.name]["outcome"]
        ours, theirs = table["model"][metric.name], table["baseline"][metric.name]
        cells.append((_value(ours, _TONES[outcome]), _value(theirs)))
    label = next(metric.label for metric in metrics if _signal(metric) == name)
    return SignalRow(label.partition(",")[0], tuple(cells))


def _metric_row(metric: Metric, table: Mapping[str, Any]) -> MetricRow:
    ours, difference = table["model"][metric.name], table["difference"][metric.name]
    told = _value(difference) if difference["mean"] is not None else Value("")
    return row_of(
        label=f"{metric.label}, {metric.unit}" if metric.unit else metric.label,
        better=metric.better,
        decides=metric.decides,
        values=(_value(ours), _value(table["baseline"][metric.name]), told),
        outcome=difference["outcome"],
        reason=ours.get("reason", "nothing could be compared") if ours["mean"] is None else "",
    )


def row_of(
    *, label: str, better: str, decides: bool, values: tuple[Value, Value, Value], outcome: str, reason: str
) -> MetricRow:
    """A row of two values and their difference; better: as the metric table has it."""
    return MetricRow(label, _BETTER[better], decides, *values, outcome, _TONES[outcome], reason)


def _value(cell: Mapping[str, Any], tone: str = "") -> Value:
    return Value(show(cell["mean"]), interval(cell["ci95"]), tone)


@dataclass(frozen=True)
class StratumRow:
    """A deciding metric over some of the clips."""

    stratum: str
    row: MetricRow


def strata_rows(evaluation: Mapping[str, Any]) -> list[StratumRow]:
    """The deciding metrics apart for clips that move and clips at rest, where there are both."""
    return [
        StratumRow(f"{name} ({counted(stratum['clips'], 'clip')})", _metric_row(metric, stratum))
        for name, stratum in evaluation["strata"].items()
        for metric in METRICS
        if metric.decides
    ]


@dataclass(frozen=True)
class ClipRow:
    """A clip or a pair: its name, what is to be known of it, and (model, baseline) of each column's metric."""

    name: str
    about: str
    no_face: str
    cells: tuple[tuple[str, str], ...]


def clip_columns(rows: Sequence[Mapping[str, Any]], metrics: Sequence[Metric]) -> list[Metric]:
    """What a table of clips shows: what decides, landmark error and identity, as far as it was measured on any clip."""
    shown = [metric for metric in metrics if metric.decides or metric.name in ("landmark_error", "identity")]
    return [metric for metric in shown if any(row["model"][metric.name] is not None for row in rows)]


def clip_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[Metric]) -> list[ClipRow]:
    """Clips, or pairs of cross reenactment, in the order in which they are given."""
    return [
        ClipRow(
            name=row["name"],
            about=_about(row),
            no_face=f"{row['model']['no_face_in_result']} of {row['model']['frames']}",
            cells=tuple(
                (_or_dash(row["model"][metric.name]), _or_dash(row["baseline"][metric.name])) for metric in columns
            ),
        )
        for row in rows
    ]


def moves(row: Mapping[str, Any]) -> str:
    """How much moves in a clip."""
    moved = row["motion"]
    rest = ", at rest" if moved["at_rest"] else ""
    return f"moves by {moved['expression_iod']:.3f} IOD and {moved['pose_deg']:.1f}°{rest}"


def _about(row: Mapping[str, Any]) -> str:
    if "trained_on" in row:
        known = "; training saw other frames of it" if row["trained_on"] else ""
        return f"{moves(row)}{known}"
    return moves(row) + ("" if row["aligned"] else "; the motion could not be laid onto this face")


def worst_first(clips: Sequence[Mapping[str, Any]], name: str = "expression_error") -> list[Mapping[str, Any]]:
    """Clips by this error over the baseline's, worst first; those without one last, by L1 over the baseline's."""

    def badness(clip: Mapping[str, Any]) -> tuple[int, float]:
        for place, metric in ((1, name), (0, "l1")):
            ours, theirs = clip["model"].get(metric), clip["baseline"].get(metric)
            if ours is not None and theirs is not None:
                return place, float(ours) - float(theirs)
        return 0, 0.0

    return sorted(clips, key=badness, reverse=True)


def selection_columns() -> list[str]:
    """Headings of what the selection's table shows beside loss and score."""
    return [BY_NAME[name].label for name in _SELECTION]


@dataclass(frozen=True)
class SelectionLine:
    """A checkpoint, or what checkpoints are held against, as the selection's table shows it."""

    rank: int | None
    name: str
    loss: str
    cells: tuple[Value, ...]
    no_face: str
    score: str


def selection_lines(selection: Mapping[str, Any]) -> list[SelectionLine]:
    """The ranked checkpoints, then what they are held against: a first checkpoint outside the ranking, the baseline."""
    first, baseline = selection["first"], {**selection["baseline"], "checkpoint": "reference repeated (baseline)"}
    ranked = sorted(selection["rows"], key=lambda row: row["rank"])
    others = [first, baseline] if "rank" not in first else [baseline]
    return [
        SelectionLine(
            rank=row.get("rank"),
            name=row["checkpoint"] + (" (first)" if row["checkpoint"] == first["checkpoint"] else ""),
            loss=show(row["loss"]) if "loss" in row else "",
            cells=tuple(
                Value(show(row[name]) if name in row else "", interval(row.get("intervals", {}).get(name)))
                for name in _SELECTION
            ),
            no_face=f"{row['no_face_in_result']} of {row['frames']}",
            score=f"{row['score']:.2f}" if "score" in row else "",
        )
        for row in [*ranked, *others]
    ]


def other_terms(selection: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[str]:
    """In what the selection measured otherwise than the evaluation: why one model has two numbers in one metric."""
    ours, theirs = (_flat(each["protocol"]) for each in (selection, evaluation))
    told = ("clips", "max frames", "frames taken", "sampling ")
    return [
        f"{name}: {ours[name]} here, {theirs[name]} in the evaluation"
        for name in ours
        if name.startswith(told) and name in theirs and ours[name] != theirs[name]
    ]


def _flat(protocol: Mapping[str, Any]) -> dict[str, str]:
    """Terms by names in words; those of a group by the group's name and their own."""
    found: dict[str, str] = {}
    for key, value in protocol.items():
        inner = value.items() if isinstance(value, Mapping) else ((None, value),)
        found |= {" ".join((key, name or "")).strip().replace("_", " "): _plain(item) for name, item in inner}
    return found


def terms(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The evaluation's terms but for how each metric is measured, as names and texts."""
    return [(key.replace("_", " "), _plain(value)) for key, value in protocol.items() if key != "metrics"]


def metric_texts(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How each metric is measured."""
    return [(name, _plain(text)) for name, text in protocol.get("metrics", {}).items()]


def interval(bounds: Sequence[float] | None) -> str:
    """`[low, high]`; nothing where there is none."""
    return f"[{show(bounds[0])}, {show(bounds[1])}]" if bounds else ""


def _or_dash(value: Any) -> str:
    return "–" if value is None else show(value)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    return str(value)
