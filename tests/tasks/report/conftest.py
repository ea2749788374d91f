"""A run and the one before it, and the report on it, which takes seconds to draw: made once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fye_model.evaluation.table import BY_NAME, METRICS
from fye_model.files import write_json
from tasks.report import ReportFacts, write_report
from tasks.results.cross_tables import summarise_cross
from tasks.results.tables import summarise
from tasks.workspace.licences import Licence
from tasks.workspace.summary import DataSummary, FunnelStep, QuarantineRow, StageLine
from tests.tasks.report.made import EVIL, MADE, TERMS, Page, clip_record, cross_record, write_records


@pytest.fixture(scope="session")
def ingredients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("evaluation")
    records = [clip_record(folder, name, noise) for name, noise in (("good", 5), ("bad", 60), ("middle", 20))]
    write_records(folder, records)
    crossed = [cross_record(folder, record) for record in records[:2]]
    for record in crossed:
        write_json(folder / "cross" / "records" / f"{Path(record.video).stem}.json", record.to_json())
    cross = summarise_cross(crossed, None)
    evaluation = {**summarise(records, TERMS), "cross": cross}
    curve = folder / "metrics.jsonl"
    steps = [{"step": i, "loss": 1 / i, "loss_diffusion": 0.5 / i, "lr": 1e-3} for i in range(1, 40)]
    curve.write_text("".join(json.dumps(step) + "\n" for step in [*steps, {"step": 39, "val_loss": 0.2}]))
    return {
        "facts": _facts(),
        "evaluation": evaluation,
        "selection": _selection(evaluation),
        "curves": {f"Stage 1 {EVIL}": curve},
        "evaluation_dir": folder,
        "made": MADE,
    }


def _selection(evaluation: dict[str, Any]) -> dict[str, Any]:
    base = {metric.name: evaluation["baseline"][metric.name]["mean"] for metric in METRICS}
    base |= {"frames": 8, "no_face_in_result": 0, "intervals": {"l1": [0.1, 0.3]}}
    better = {"l1": 0.05, "ssim": 0.99, "expression_error": 0.001, "expression_correlation": 0.9}
    rows = [
        {**base, **values, "checkpoint": f"stage 2/checkpoint-{step:06d}", "step": step, "loss": loss, "score": score}
        | {"rank": rank}
        for step, loss, values, score, rank in ((50, 0.4, {"l1": 0.2}, 2.0, 2), (100, 0.3, better, 1.0, 1))
    ]
    first = {"checkpoint": "stage 1/checkpoint-000010", "step": 10, "l1": 0.31, "expression_error": 1.0}
    return {
        "rule": "lowest score",
        "protocol": {"clips": 2, "max_frames": 4},
        "rows": rows,
        "winner": rows[1]["checkpoint"],
        "first": {**base, **first},
        "baseline": base,
        "beats_baseline": dict.fromkeys(BY_NAME, True),
        "beats_first": dict.fromkeys(BY_NAME, True),
        "note": "chosen on these clips",
    }


def _facts() -> ReportFacts:
    stages = (
        StageLine(stage="clips", items=4, done=2, quarantined=2),
        StageLine(stage="landmarks", items=2, done=2, quarantined=0),
        StageLine(stage="train_stage1", items=1, done=1, quarantined=0),
    )
    told = (
        ("scan", "twin", "duplicate", "the same bytes as other"),
        ("clips", EVIL, "zero_bytes", f"{EVIL} is empty"),
        ("clips", "cut", "truncated", "its index is missing"),
    )
    quarantine = tuple(
        QuarantineRow(stage=stage, item="0", name=name, reason=reason, message=message)
        for stage, name, reason, message in told
    )
    screening = (
        FunnelStep(rule="all clips", lost=0, clips=2, frames=90),
        FunnelStep(rule="sharpness", lost=1, clips=1, frames=40),
    )
    rejected = {f"blurred{EVIL}": ("too soft",)}
    return ReportFacts(
        flow="retrain",
        recipe=EVIL,
        landmark_model="test-model",
        status="Completed",
        stages=stages,
        data=DataSummary(clips=2, kept=1, subjects=1, rejected=rejected, funnel=screening),
        quarantine=quarantine,
        settings=f"name: {EVIL}\ntrain: {{steps: 100}}\n",
        licences=(Licence(what=f"2 videos {EVIL}", licence="CC0", source="own"),),
    )


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation of an earlier run on the same clips, which was worse."""
    folder = tmp_path_factory.mktemp("before")
    records = [clip_record(folder, name, noise) for name, noise in (("good", 50), ("bad", 90), ("middle", 80))]
    write_records(folder, records)
    crossed = summarise_cross([], "left out: nobody else")
    write_json(folder / "metrics.json", {**summarise(records, TERMS), "cross": crossed})
    return folder


@pytest.fixture(scope="session")
def report(ingredients: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report, which takes seconds to draw."""
    out = tmp_path_factory.mktemp("report")
    path = write_report(out_dir=out, **ingredients)
    assert [file.name for file in out.iterdir()] == ["report.html"]
    return path


@pytest.fixture(scope="session")
def page(report: Path) -> Page:
    return Page(report.read_text())
