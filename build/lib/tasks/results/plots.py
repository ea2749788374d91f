"""Plots of training and selection, drawn without a display, the same bytes for the same numbers."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_BLUE, _RED, _GREY = "#2b5c8a", "#d1495b", "#8a8a8a"
_CYCLE = (_BLUE, "#e08e45", "#4a9d7c", "#8d6cab", "#b0a13a")
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.hashsalt": "fye",
    "legend.frameon": False,
    "legend.fontsize": 8,
}
SELECTION_PANELS = {
    "loss": "validation loss",
    "expression_error": "expression error (IOD)",
    "expression_correlation": "expression followed (r)",
    "l1": "L1",
}
# Signals drawn of every clip, with the names of those that share a panel.
SIGNAL_PANELS = {
    "mouth opening": ("mouth_opening",),
    "mouth width": ("mouth_width",),
    "eye opening": ("eye_opening_left", "eye_opening_right"),
    "brow height": ("brow_height",),
    "gaze sideways": ("gaze_x",),
    "yaw (degrees)": ("yaw",),
}
_METHOD_STYLES: dict[str, Any] = {
    "baseline": {"color": _GREY, "linestyle": "--", "linewidth": 0.9, "label": "reference repeated"},
    "truth": {"color": "#222222", "linewidth": 1.3, "label": "truth"},
    "model": {"color": _RED, "linewidth": 1.3, "label": "result"},
}
_MAX_POINTS = 2000  # of one curve: more cannot be seen, and would bloat the report


def selection_png(rows: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any]) -> bytes:
    """The panels of a selection in one picture."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(13, 3.2), layout="constrained")
        for axis, key in zip(figure.subplots(1, len(SELECTION_PANELS)), SELECTION_PANELS, strict=True):
            _draw_selection(axis, key, rows, baseline)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def selection_svgs(rows: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any]) -> list[bytes]:
    """One picture a panel, for pages that wrap."""
    return [_panel(lambda axis, key=key: _draw_selection(axis, key, rows, baseline)) for key in SELECTION_PANELS]


def signals_svg(signals: Mapping[str, Mapping[str, Sequence[Any]]], start: int) -> bytes:
    """What a clip's face does over time, small: one panel a signal, with truth, result and the repeated reference.

    signals: "truth", "model", "baseline" -> signal -> a value a frame, None where there is no face. start: number of
    the first frame. Signals that share a panel are averaged.
    """
    with matplotlib.rc_context({**_STYLE, "font.size": 7, "legend.fontsize": 6}):
        figure = Figure(figsize=(7.2, 2.6), layout="constrained")
        panels = figure.subplots(2, 3, sharex=True).flat
        for axis, (title, names) in zip(panels, SIGNAL_PANELS.items(), strict=True):
            for method, style in _METHOD_STYLES.items():
                rows = [[_value(value) for value in signals[method][name]] for name in names]
                means = [sum(values) / len(values) for values in zip(*rows, strict=True)]
                axis.plot(range(start, start + len(means)), means, **style)
            axis.set_title(title)
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def curve_svgs(title: str, path: Path) -> list[bytes]:
    """Loss curves of one metrics.jsonl: the total with the validation loss, then the terms. Empty without losses."""
    series = read_curves(path)
    terms = {name: points for name, points in series.items() if name not in ("loss", "val_loss")}
    total = {name: points for name, points in series.items() if name not in terms}
    pictures = []
    if total:
        pictures.append(_panel(lambda axis: _draw_curves(axis, f"{title}: loss", total)))
    if terms:
        pictures.append(_panel(lambda axis: _draw_curves(axis, f"{title}: terms", terms)))
    return pictures


def read_curves(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Loss values by name from a metrics.jsonl: {"loss": [(step, value), ...], ...}, ordered by step.

    Takes `loss`, its terms `loss_*`, and `val_loss`. A step that a resumed run did again counts once, with its last
    value. A last line cut by a kill is left out; any other line that is not JSON raises ValueError.
    """
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    series: dict[str, dict[int, float]] = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}: line {number} is not JSON ({error})") from error
        for key, value in row.items():
            if key.startswith("loss") or key == "val_loss":
                series.setdefault(key, {})[int(row["step"])] = float(value)
    return {name: sorted(points.items()) for name, points in series.items()}


def smoothed(values: Sequence[float], span: int) -> list[float]:
    """Mean of each value with up to `span` - 1 values before it."""
    return [sum(values[max(0, i - span + 1) : i + 1]) / min(i + 1, span) for i in range(len(values))]


def _panel(draw: Any) -> bytes:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 3.0), layout="constrained")
        draw(figure.subplots())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _draw_selection(axis: Axes, key: str, rows: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any]) -> None:
    best = next(row for row in rows if row["rank"] == 1)
    steps, values = [row["step"] for row in rows], [_value(row[key]) for row in rows]
    axis.plot(steps, values, "-o", color=_BLUE, markersize=4)
    for row in rows:
        if interval := row.get("intervals", {}).get(key):
            axis.vlines(row["step"], *interval, color=_BLUE, alpha=0.5, linewidth=2)
    axis.plot(best["step"], _value(best[key]), "o", color=_RED, markersize=9, label="selected")
    if baseline.get(key) is not None:
        axis.axhline(_value(baseline[key]), color=_GREY, linestyle="--", linewidth=1, label="reference repeated")
    _finish(axis, SELECTION_PANELS[key])
    axis.set_xticks(steps[:: math.ceil(len(steps) / 5)])


def _draw_curves(axis: Axes, title: str, series: Mapping[str, list[tuple[int, float]]]) -> None:
    for name, colour in zip(series, _CYCLE * len(series), strict=False):
        points = series[name]
        steps, values = zip(*points[:: math.ceil(len(points) / _MAX_POINTS)], strict=True)
        if name == "val_loss":
            axis.plot(steps, values, "-o", color=_RED, markersize=4, label="validation")
        elif len(values) < 20:
            axis.plot(steps, values, color=colour, label=name)
        else:
            axis.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            axis.plot(steps, smoothed(values, max(5, len(values) // 20)), color=colour, label=f"{name}, running mean")
    if all(value > 0 for points in series.values() for _, value in points):
        axis.set_yscale("log")
    _finish(axis, title)


def _finish(axis: Axes, title: str) -> None:
    axis.set_title(title)
    axis.set_xlabel("step")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.margins(y=0.15)
    axis.legend(loc="best")


def _value(value: Any) -> float:
    number = float("nan") if value is None else float(value)
    return number if math.isfinite(number) else float("nan")
