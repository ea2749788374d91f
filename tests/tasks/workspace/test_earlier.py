"""A work folder of another version is never taken for one of ours, and whoever runs there is told, once."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from fye_model.config import Runtime
from tasks.engine.store import Store
from tasks.faces.landmarker import LandmarkerAsset
from tasks.workspace.earlier import written_by_another
from tasks.workspace.run import open_run, write_summary
from tasks.workspace.summary import Results

# As the version before typed stages wrote them: `row` was any table, the receipt did not say who wrote it
RECEIPT = {
    "schema": 1,
    "stage": "ingest",
    "version": "3",
    "key": "5b1f0c" * 10 + "5b1f",
    "item": "9c56cc51b374c3ba",
    "files": {"video.mp4": [3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]},
    "row": {"frames": 40, "fps": 25.0, "has_audio": False, "name": "talk"},
    "reason": None,
    "message": None,
    "seconds": 0.512,
}
SUMMARY = {
    "schema": 1,
    "flow": "refresh",
    "status": "Completed",
    "recipe": "demo",
    "landmark_model": "face_landmarker_v2:64184e22",
    "started": "2026-11-24T16:00:00+00:00",
    "seconds": 12.5,
    "stages": [],
    "quarantined": 0,
    "data": {"clips": 1, "kept": 1, "subjects": 1, "rejected": {}, "funnel": [], "added": ["talk-000"], "removed": []},
}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder as that version left it."""
    folder = tmp_path / "work"
    item = folder / "items" / "ingest" / str(RECEIPT["key"])[:32]
    item.mkdir(parents=True)
    (item / "video.mp4").write_bytes(b"abc")
    for path, value in (
        (item / "receipt.json", RECEIPT),
        (folder / "summary.json", SUMMARY),
        (folder / "clips.json", {"c0": "talk-000"}),
        (folder / "dataset.json", {"schema": 1, "roots": []}),
    ):
        path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    return folder


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "was written by" in record.getMessage()]


def test_who_wrote_an_older_work_folder_is_said_once_and_no_more_when_a_run_has_ended(
    work: Path, landmarker_asset: LandmarkerAsset, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = open_run(str(work), "debug", [], Runtime(workers=0))
    (line,) = lines(caplog)
    assert "written by an earlier version (receipts of schema 1)" in line and "everything is made again" in line
    assert "\n" not in line
    write_summary(run, "refresh", Results())
    assert json.loads((work / "summary.json").read_text())["software"].startswith("follow-your-emoji ")
    open_run(str(work), "debug", [], Runtime(workers=0))
    assert lines(caplog) == [line]


def test_a_run_that_was_killed_before_any_summary_counts_as_well(work: Path) -> None:
    (work / "summary.json").unlink()
    assert "schema 1" in str(written_by_another(Store(work)))


def test_a_later_version_is_named_by_what_it_says_of_itself(work: Path) -> None:
    (receipt,) = work.rglob("receipt.json")
    receipt.write_text(json.dumps(RECEIPT | {"schema": 9}))
    assert "written by another version (receipts of schema 9)" in str(written_by_another(Store(work)))
    (work / "summary.json").write_text(json.dumps(SUMMARY | {"schema": 7, "software": "follow-your-emoji 4.0"}))
    assert "written by follow-your-emoji 4.0 (receipts of schema 9)" in str(written_by_another(Store(work)))


def test_new_folders_and_damaged_ones_are_nobodys(tmp_path: Path, work: Path) -> None:
    assert written_by_another(Store(tmp_path / "new")) is None
    (receipt,) = work.rglob("receipt.json")
    receipt.write_text("{")
    assert written_by_another(Store(work)) is None, "such a receipt is told of when its item is looked for"
