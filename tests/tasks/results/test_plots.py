"""Curves are read as training writes them, across kills and resumes, and plots are reproducible."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tasks.results.plots import curve_svgs, draw_selection, read_curves, selection_png, selection_svgs, smoothed

ROWS = [
    {"step": 1, "rank": 2, "loss": 1.0, "expression_error": 0.3, "expression_correlation": 0.2, "l1": 0.2},
    {"step": 2, "rank": 1, "loss": 0.5, "expression_error": None, "expression_correlation": None, "l1": 0.1},
]
BASELINE = {"l1": 0.15, "expression_error": 0.2}


def _write(path: Path, rows: list[dict[str, float]], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return path


def test_curves_hold_losses_and_nothing_else(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "loss": 2.0, "loss_face": 0.5, "lr": 1e-3, "grad_norm": 3.0},
        {"step": 1, "val_loss": 1.5, "val_loss_face": 0.4},
        {"step": 2, "loss": 1.0, "loss_face": 0.3, "lr": 1e-3, "grad_norm": 2.0},
    ]
    expected = {"loss": [(1, 2.0), (2, 1.0)], "loss_face": [(1, 0.5), (2, 0.3)], "val_loss": [(1, 1.5)]}
    assert read_curves(_write(tmp_path / "m.jsonl", rows)) == expected


def test_repeated_steps_count_once_and_a_cut_last_line_is_left_out(tmp_path: Path) -> None:
    rows = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 9.0}, {"step": 2, "loss": 2.0}]
    assert read_curves(_write(tmp_path / "m.jsonl", rows, '{"step": 3, "lo')) == {"loss": [(1, 3.0), (2, 2.0)]}


def test_damage_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1, "loss": 1}\nnoise\n{"step": 2, "loss": 1}\n')
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        read_curves(path)


def test_no_losses_give_no_plot(tmp_path: Path) -> None:
    assert curve_svgs("Stage 1", _write(tmp_path / "m.jsonl", [])) == []


def test_plots_are_the_same_bytes_for_the_same_numbers(tmp_path: Path) -> None:
    curve = _write(tmp_path / "m.jsonl", [{"step": i, "loss": 1 / i, "loss_face": 0.1} for i in range(1, 50)])
    first = curve_svgs("Stage 1", curve)
    assert first == curve_svgs("Stage 1", curve)
    assert len(first) == 2
    assert selection_png(ROWS, BASELINE) == selection_png(ROWS, BASELINE)
    assert len(selection_svgs(ROWS, BASELINE)) == 4


def test_every_checkpoint_and_what_it_is_held_against_is_drawn_with_its_interval() -> None:
    rows = [
        {"step": step, "rank": 3 - step, "l1": 0.3 / step, "intervals": {"l1": [0.2 / step, 0.4 / step]}}
        for step in (1, 2)
    ]
    others = [{"l1": value, "intervals": {"l1": [value - 0.01, value + 0.01]}} for value in (0.25, 0.28)]
    axis = Figure().subplots()
    draw_selection(axis, "l1", rows, *others)
    bars = [segment[:, 1].tolist() for drawn in axis.collections for segment in drawn.get_segments()]
    assert bars == [pytest.approx(row["intervals"]["l1"]) for row in rows]
    assert [(band.get_y(), band.get_y() + band.get_height()) for band in axis.patches] == [
        pytest.approx(tuple(row["intervals"]["l1"])) for row in others
    ]
    labels = axis.get_legend_handles_labels()[1]
    assert labels == ["selected", "reference repeated", "first checkpoint"]
    ranked_first = Figure().subplots()
    draw_selection(ranked_first, "l1", rows, others[0], rows[0])
    assert ranked_first.get_legend_handles_labels()[1] == ["selected", "reference repeated"]


def test_smoothing_is_a_mean_over_the_past() -> None:
    assert smoothed([1, 2, 3, 6], 2) == [1, 1.5, 2.5, 4.5]
