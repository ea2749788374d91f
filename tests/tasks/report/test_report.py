"""The report stands alone, shows what was lost, is never older than its run, and never runs what came from a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fye_model.evaluation.table import METRICS
from tasks.engine.items import NOTHING
from tasks.report import REPORT, ReportFacts, funnel, report_item, write_report
from tasks.results.made import made_here
from tasks.workspace.summary import QuarantineRow
from tests.tasks.report.made import EVIL, MADE, PREVIOUS, Page
from tests.tasks.support import work_on


def test_everything_is_inside_the_one_file(page: Page) -> None:
    assert page.addresses and all(address.startswith("data:") for address in page.addresses)
    assert page.tags.count("video") == 3 + 2
    assert not {"link", "script", "iframe", "object"} & set(page.tags)


def test_names_and_messages_are_shown_and_never_run(page: Page) -> None:
    assert "script" not in page.tags
    for place in (f"recipe {EVIL}", f"{EVIL} is empty", f"good{EVIL}", f"blurred{EVIL}"):
        assert place in page.text


def test_what_ran_what_was_lost_and_what_was_measured_is_there(page: Page) -> None:
    for fact in ("test-model", "train_stage1", "duplicate", "truncated", "its index is missing", "sharpness"):
        assert fact in page.text
    for metric in METRICS:
        if metric.reads == "networks":
            assert f"{metric.name} missing: {metric.reason}" in page.text
    assert "3 of 12 result frames have no face" in page.text
    assert "stage 1/checkpoint-000010 (first)" in page.text
    for name, text in MADE.lines():
        assert f"{name} {text}" in page.text
    assert f"2 videos {EVIL} CC0 own" in page.text and "train: {steps: 100}" in page.text


def test_the_same_inputs_give_the_same_bytes(ingredients: dict[str, Any], report: Path, tmp_path: Path) -> None:
    assert write_report(out_dir=tmp_path, **ingredients).read_bytes() == report.read_bytes()


def test_the_stage_writes_the_same_report_and_says_when_where_and_by_what(
    ingredients: dict[str, Any], before: Path, report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ingredients["evaluation_dir"]
    (folder / "metrics.json").write_text(json.dumps(ingredients["evaluation"]))
    (tmp_path / "selection.json").write_text(json.dumps(ingredients["selection"]))
    files = {"evaluation/metrics.json": folder / "metrics.json", "selection.json": tmp_path / "selection.json"}
    files |= {f"curves/{title}": path for title, path in ingredients["curves"].items()}
    files |= {f"evaluation/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("records/*")}
    files |= {f"previous/{path.relative_to(before).as_posix()}": path for path in before.rglob("*.json")}
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767323045")
    facts = ingredients["facts"].model_copy(update={"previous": PREVIOUS})
    row = work_on(REPORT, NOTHING, files, facts, tmp_path / "out")
    told = {**ingredients, "facts": facts, "made": made_here(), "previous_dir": before}
    expected = write_report(out_dir=tmp_path, **told).read_bytes()
    assert (tmp_path / "out" / row.report).read_bytes() == expected != report.read_bytes()
    assert b"2026-01-02T03:04:05+00:00" in expected


def test_funnel_counts_what_entered_and_left_each_stage(ingredients: dict[str, Any]) -> None:
    steps = funnel(ingredients["facts"].stages, ingredients["facts"].quarantine)
    assert [(step.stage, step.entered, step.left) for step in steps] == [
        ("scan", 5, 4),
        ("clips", 4, 2),
        ("landmarks", 2, 2),
    ]
    assert dict(steps[1].reasons) == {"zero_bytes": 1, "truncated": 1}


def test_a_newly_rejected_clip_and_a_newly_quarantined_file_change_the_reports_key(
    ingredients: dict[str, Any],
) -> None:
    """A report that was keyed without them was shown as up to date with an old table of what was lost."""
    facts: ReportFacts = ingredients["facts"]
    told = QuarantineRow(stage="clips", item="1", name="new", reason="truncated", message="its index is missing")
    later = [
        facts,
        facts.model_copy(update={"data": facts.data.model_copy(update={"rejected": {"other": ("too soft",)}})}),
        facts.model_copy(update={"quarantine": (*facts.quarantine, told)}),
        facts.model_copy(update={"stages": facts.stages[:-1]}),
        facts.model_copy(update={"settings": "name: other"}),
    ]
    keys = [REPORT.key({}, None, report_item(each, {})) for each in later]
    assert len(set(keys)) == len(later)
    assert REPORT.key({}, None, report_item(facts.model_copy(), {})) == keys[0]
