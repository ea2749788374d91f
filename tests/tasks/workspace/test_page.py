"""The summary on Prefect's page: numbers that people read, and names of files that stay words."""

from __future__ import annotations

import io
import logging
from pathlib import Path

from PIL import Image

from tasks.engine.progress import counted
from tasks.engine.store import Store
from tasks.workspace.page import _page, picture_of
from tasks.workspace.summary import Results, Summary


def summary(**found: object) -> Summary:
    values = {"flow": "retrain", "status": "Completed", "recipe": "demo", "landmark_model": "m:0", "started": "now"}
    return Summary.model_validate({"schema": 2, **values, "seconds": 3.0, "stages": (), "quarantined": 0, **found})


def test_the_deciding_numbers_stand_beside_the_repeated_reference() -> None:
    found = summary(
        metrics={"l1": 0.05, "blinks": {"recall": 0.5}},
        baseline={"l1": 0.07713, "blinks": {"recall": 0.0}},
        beats_baseline={"l1": True, "blinks.recall": None},
    )
    lines = list(_page(found, None))
    assert "| L1 | 0.0500 | 0.0771 | better |" in lines
    assert "| Blinks found | 0.5000 | 0.0000 | – |" in lines
    assert "| SSIM | not measured | not measured | – |" in lines


def test_names_from_outside_neither_mark_up_nor_break_the_table() -> None:
    place = "/work/<img src=x onerror=alert(1)>|`a`\n# [b](javascript:c)"
    text = "\n".join(_page(summary(outputs={"report": place}, error=place), None))
    assert "<" not in text and "\n# " not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| report |")]
    assert row.replace("\\|", "").count("|") == 3 and "\\[b\\]" in row and "\\`a\\`" in row


def test_the_picture_is_small_and_missing_where_nothing_was_evaluated(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert picture_of(store, Results()) is None
    strips = tmp_path / "evaluation" / "strips"
    strips.mkdir(parents=True)
    Image.new("RGBA", (2000, 300)).save(strips / "a.png")
    data = picture_of(store, Results(outputs={"evaluation": str(tmp_path / "evaluation")}))
    assert data is not None and Image.open(io.BytesIO(data)).size == (640, 96)


def test_lines_with_a_count_are_only_lines_outside_a_stage() -> None:
    said: list[str] = []
    counted(said.append)("step 3/4 loss 0.1")
    counted(logging.getLogger(__name__).info)("nothing to count")
    assert said == ["step 3/4 loss 0.1"]
