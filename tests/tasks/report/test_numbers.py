"""What the report says of numbers is what they say: verdict, tables, clips, and why two tables differ."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from fye_model.evaluation.table import BY_NAME, METRICS
from tasks.report import write_report
from tasks.results.cross_tables import summarise_cross
from tests.tasks.report.made import EVIL, Page


def test_cross_reenactment_has_its_table_its_pictures_and_what_is_missing(page: Page) -> None:
    assert "2 pairs of 3 people" in page.text and f"good{EVIL} performs x" in page.text
    assert "In 2 of the pairs the motion could not be laid onto" in page.text
    assert "Expression error, as change, IOD" in page.text and "arcface missing:" in page.text
    assert "On 2 pairs of 3 people, driven by somebody else, the expression" in page.text


def test_where_one_person_only_is_held_out_the_report_says_so(ingredients: dict[str, Any], tmp_path: Path) -> None:
    changed = copy.deepcopy(ingredients)
    changed["evaluation"]["cross"] = summarise_cross([], "left out: only one person (anna) is held out")
    text = Page(write_report(out_dir=tmp_path, **changed).read_text()).text
    assert text.count("Cross reenactment left out: only one person (anna) is held out.") == 2


def test_the_verdict_follows_the_numbers(ingredients: dict[str, Any], page: Page) -> None:
    evaluation = ingredients["evaluation"]
    l1, base = evaluation["model"]["l1"]["mean"], evaluation["baseline"]["l1"]["mean"]
    assert evaluation["difference"]["l1"]["outcome"] == "better"
    assert f"Yes. On held-out frames the model beats repeating the reference in L1: {l1:.4f} against {base:.4f}" in (
        page.text
    )
    assert "checkpoint-000100 beats the first checkpoint stage 1/checkpoint-000010 in L1: 0.0500 against 0.31" in (
        page.text
    )
    assert "Measured on 3 held-out clips" in page.text
    assert "same people (3), later frames: training saw earlier frames of 1 of 3 clips" in page.text
    assert "identity was not measured" in page.text
    assert "loses to the repeated reference" not in page.text


def test_a_model_that_lost_is_said_to_have_lost(ingredients: dict[str, Any], tmp_path: Path) -> None:
    changed = copy.deepcopy(ingredients)
    evaluation = changed["evaluation"]
    evaluation["model"], evaluation["baseline"] = evaluation["baseline"], evaluation["model"]
    for cell in evaluation["difference"].values():
        cell["outcome"] = {"better": "worse"}.get(cell["outcome"], cell["outcome"])
    changed["selection"]["beats_first"] = dict.fromkeys(BY_NAME, False)
    changed["selection"]["beats_baseline"] = dict.fromkeys(BY_NAME, False)
    text = Page(write_report(out_dir=tmp_path, **changed).read_text()).text
    assert "No. On held-out frames the model does not beat repeating the reference in L1" in text
    assert "does not beat the first checkpoint" in text
    assert "the selected checkpoint loses to the repeated reference in L1 and SSIM and Expression error" in text
    assert "Better." not in text and "Yes." not in text


def test_every_clip_has_a_row_and_the_worst_is_the_first(ingredients: dict[str, Any], page: Page) -> None:
    _, _, table = page.text.partition("Clip by clip, worst first")
    places = [table.index(f"{name}{EVIL} moves by") for name in ("bad", "middle", "good")]
    assert places == sorted(places)
    good = next(clip for clip in ingredients["evaluation"]["clips"] if clip["clip"] == "good")
    row = table[places[2] :][:250]
    for name in ("l1", "ssim", "landmark_error", "expression_error"):
        assert f"{good['model'][name]:.4f} {good['baseline'][name]:.4f}" in row
    assert "training saw other frames of it" in row and "1 of 4" in row


def test_signals_are_one_table_and_each_metric_is_there_with_its_difference(
    ingredients: dict[str, Any], page: Page
) -> None:
    evaluation = ingredients["evaluation"]
    r, slope, error = (
        f"{evaluation['model'][f'expression.mouth_opening.{kind}']['mean']:.4f} "
        f"{evaluation['baseline'][f'expression.mouth_opening.{kind}']['mean']:.4f}"
        for kind in ("correlation", "slope", "error")
    )
    assert f"Signal correlation slope error mouth opening {r} {slope} {error}" in page.text
    for metric in METRICS:
        if evaluation["model"][metric.name]["mean"] is not None:
            assert metric.label in page.text, metric.name
    low, high = evaluation["difference"]["expression.mouth_opening.error"]["ci95"]
    assert f"[{low:.4f}, {high:.4f}]" in page.text


def test_clips_at_rest_are_a_stratum_with_intervals(ingredients: dict[str, Any], tmp_path: Path) -> None:
    changed = copy.deepcopy(ingredients)
    evaluation = changed["evaluation"]
    evaluation["strata"] = {
        name: {"clips": 2, **{part: evaluation[part] for part in ("model", "baseline", "difference")}}
        for name in ("moving", "at rest")
    }
    text = Page(write_report(out_dir=tmp_path, **changed).read_text()).text
    low, high = evaluation["model"]["l1"]["ci95"]
    shown = f"at rest (2 clips) L1 {evaluation['model']['l1']['mean']:.4f} [{low:.4f}, {high:.4f}]"
    assert shown in text


def test_where_the_selection_measured_otherwise_the_report_says_why_its_numbers_differ(
    ingredients: dict[str, Any], page: Page, tmp_path: Path
) -> None:
    assert "measured otherwise: clips: 2 here, 3 in the evaluation." in page.text
    changed = copy.deepcopy(ingredients)
    changed["selection"]["protocol"]["clips"] = 3
    assert "measured otherwise" not in Page(write_report(out_dir=tmp_path, **changed).read_text()).text
