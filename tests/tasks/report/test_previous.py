"""The report's run against the one before it: compared clip by clip, or said why not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from fye_model.files import write_json
from tasks.report import write_report
from tests.tasks.report.made import EVIL, PREVIOUS, Page


def test_the_run_before_is_compared_clip_by_clip_and_what_changed_is_told(
    ingredients: dict[str, Any], before: Path, tmp_path: Path
) -> None:
    folder = ingredients["evaluation_dir"]
    write_json(folder / "metrics.json", ingredients["evaluation"])
    facts = ingredients["facts"].model_copy(update={"previous": PREVIOUS})
    told = {**ingredients, "facts": facts}
    text = Page(write_report(out_dir=tmp_path, **told, previous_dir=before).read_text()).text
    assert f"recipe old{EVIL}, finished 2025-12-31T23:59:59+00:00" in text
    assert "train.stage1.steps: 50, now 100" in text
    assert "On 3 clips, too few to know how it is elsewhere" in text and "the picture is better than B's" in text
    theirs = json.loads((before / "metrics.json").read_text())["model"]["ssim"]["mean"]
    ours = ingredients["evaluation"]["model"]["ssim"]["mean"]
    _, _, section = text.partition("Against the run before")
    assert re.search(
        rf"SSIM higher is better {ours:.4f} \[\S+ \S+\] {theirs:.4f} \[\S+ \S+\] \S+ \[\S+ \S+\] better", section
    )


def test_a_run_before_that_was_measured_otherwise_or_is_gone_is_said_to_be_not_compared(
    ingredients: dict[str, Any], before: Path, page: Page, tmp_path: Path
) -> None:
    assert "No earlier run of this work folder came to other numbers." in page.text
    write_json(ingredients["evaluation_dir"] / "metrics.json", ingredients["evaluation"])
    told = {**ingredients, "facts": ingredients["facts"].model_copy(update={"previous": PREVIOUS})}
    text = Page(write_report(out_dir=tmp_path, **told).read_text()).text
    assert "Its evaluation is no longer in the store, so nothing is compared." in text
    other = json.loads((before / "metrics.json").read_text())
    other["protocol"]["max_frames"] = 9
    shutil.copytree(before / "records", tmp_path / "other" / "records")
    write_json(tmp_path / "other" / "metrics.json", other)
    text = Page(write_report(out_dir=tmp_path, **told, previous_dir=tmp_path / "other").read_text()).text
    assert "this run (A) and the previous run (B) were not measured alike, so nothing is compared" in text
    assert "max_frames: A has 4, B has 9" in text and str(tmp_path) not in text
