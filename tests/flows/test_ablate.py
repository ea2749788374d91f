"""The paper's Table 2 as one flow at tiny size: what does not differ is made once, and a second run makes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fye_model.config import Runtime
from tasks.engine import pool
from tasks.faces.landmarker import LandmarkerAsset

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]
RUNTIME = Runtime(workers=0, threads=1)
SHARED = ("encoders", "latents")
OWN = ("train_stage1", "train_stage2", "select", "evaluate")


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory, landmarker_asset: LandmarkerAsset, sample_clips: list[Path]
) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("ablation")
    (root / "videos").mkdir()
    for clip in sample_clips:
        shutil.copy(clip, root / "videos")
    yield root
    pool.shutdown()


def _ablate(lab: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from flows.ablate import ablate

    places = {"videos": str(lab / "videos"), "work": str(lab / "work"), "recipe": "debug"}
    state = ablate(**places, variants=["without_expression_ffg"], runtime=RUNTIME, return_state=True)
    assert state.is_completed(), state
    found = json.loads((lab / "work" / "ablation" / "ablation.json").read_text())
    return found, json.loads((lab / "work" / "summary.json").read_text())


@pytest.fixture(scope="module")
def first(lab: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return _ablate(lab)


def test_stages_that_do_not_differ_are_shared_and_the_receipts_show_it(lab: Path, first: tuple[Any, Any]) -> None:
    found, summary = first
    assert set(found["variants"]) == {"full", "without_expression_ffg"}
    full, without = (found["variants"][name]["stages"][0] for name in ("full", "without_expression_ffg"))
    assert full == dict.fromkeys((*SHARED, *OWN), "computed")
    assert without == {**dict.fromkeys(SHARED, "cached"), **dict.fromkeys(OWN, "computed")}
    for name, count in {"ingest": 2, "latents": 2, "encoders": 1, "train_stage1": 2, "evaluate": 2}.items():
        assert len(list((lab / "work" / "items" / name).glob("*/receipt.json"))) == count, name
    states = [(stage["stage"], stage["state"]) for stage in summary["stages"]]
    assert states[-6:-4] == [("encoders", "Cached"), ("latents", "Cached")]


def test_the_table_has_both_and_their_evaluations_lie_beside_it(lab: Path, first: tuple[Any, Any]) -> None:
    found, summary = first
    for task, count in (("self", 1), ("cross", 1)):
        table = found["tasks"][task]
        assert table["clips"] == count and set(table["differences"]) == {"without_expression_ffg"}
    checkpoints = found["variants"]["without_expression_ffg"]["checkpoints"]
    assert checkpoints[0].startswith("train_stage2/checkpoint-")
    for name in found["variants"]:
        assert (lab / "work" / "ablation" / name / "seed-0" / "metrics.json").is_file()
    page = (lab / "work" / "ablation" / "table.html").read_text()
    assert "without expression FFG" in page and page.count("data:image/png;base64,") == 2
    assert all(Path(place).exists() for place in summary["outputs"].values())


def test_a_second_run_finds_everything_and_says_the_same(lab: Path, first: tuple[Any, Any]) -> None:
    again, summary = _ablate(lab)
    assert {stage["state"] for stage in summary["stages"]} == {"Cached"}
    assert again["tasks"] == first[0]["tasks"]
