"""The appendix of reports: what was measured says what each metric sees, and the documents say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from fye_model.evaluation.table import BY_NAME
from tasks.results.grids import as_markdown
from tasks.results.known_damage import DamageTable, as_grid, known_damage
from tests.benchmarks import damage as script

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
# What each damage must be seen by, and what is blind to it, which is why the other is there.
SEES = {
    "blur, σ 3": (("l1", "ssim", "landmark_ap", "brisque", "identity"), ()),
    "flicker": (("change_error",), ("l1", "ssim", "l1_expression", "expression_correlation", "brisque")),
    "lasting blots": (("identity",), ("change_error", "l1", "ssim")),
    "one frame late": (("expression.eye_opening_left.correlation",), ("dynamics.lips", "brisque")),
    "frozen mouth": (
        ("expression.mouth_opening.correlation", "expression.mouth_opening.slope", "dynamics.lips"),
        ("expression.eye_opening_left.slope", "blinks.recall"),
    ),
    "no blinks": (("blinks.recall", "expression.eye_opening_left.slope"), ("expression.mouth_opening.correlation",)),
    "mirrored gaze": (("expression.gaze_x.correlation",), ("expression.mouth_opening.correlation", "blinks.recall")),
    "half the amplitude": (("expression.mouth_opening.slope", "dynamics.lips"), ("brisque",)),
    "first frame repeated": (
        ("expression_correlation", "expression.mouth_opening.correlation", "blinks.recall", "dynamics.lips"),
        ("brisque", "invented.eyes"),
    ),
    "another person": (("l1", "ssim", "landmark_error", "identity", "expression_correlation"), ()),
    "glasses when turned": (
        ("invented.eyes",),
        ("invented.mouth", "l1", "ssim", "expression.mouth_opening.correlation"),
    ),
    "teeth when turned": (("invented.mouth",), ("invented.eyes", "l1", "ssim", "blinks.recall")),
}


@pytest.fixture(scope="module")
def table() -> DamageTable:
    return known_damage()


def test_a_copy_of_the_truth_is_perfect_and_no_metric_calls_it_damage(table: DamageTable) -> None:
    copy = table.damages.index(script.COPY)
    perfect = {"lower": 0.0, "higher": 1.0, "one": 1.0}
    for row in table.rows:
        assert not row.seen[copy] and not row.seen[table.damages.index(table.harmless)], row.metric
        if row.metric != "brisque":  # which knows no truth
            assert row.values[copy] == pytest.approx(perfect[BY_NAME[row.metric].better], abs=1e-5), row.metric


@pytest.mark.parametrize("name", SEES)
def test_each_damage_is_seen_by_its_own_metrics(table: DamageTable, name: str) -> None:
    place = table.damages.index(name)
    seen = {row.metric: row.seen[place] for row in table.rows}
    by, blind = SEES[name]
    assert {metric: seen[metric] for metric in by} == dict.fromkeys(by, True)
    assert {metric: seen[metric] for metric in blind} == dict.fromkeys(blind, False)


def test_it_is_of_todays_metrics_and_damages(table: DamageTable) -> None:
    assert tuple(row.metric for row in table.rows) == script.SHOWN
    assert all(len(row.values) == len(row.seen) == len(table.damages) for row in table.rows)
    assert set(table.damages) == {script.COPY, script.HARMLESS, "blur, σ 1", *SEES}


def test_the_document_has_the_same_table(table: DamageTable) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for line in as_markdown("", [as_grid(table)], [table.how]).splitlines()[2:]:
        assert line in text, "run tests/benchmarks/damage.py and put what it prints into docs/metrics.md"
