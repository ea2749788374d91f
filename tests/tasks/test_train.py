"""A training stage hands its process all that the recipe and the runtime say, and reports what the process says."""

from __future__ import annotations

from pathlib import Path

import pytest

from fye_model.config import Recipe, Runtime
from fye_model.training.job import read_job
from tasks.faces.landmarker import LandmarkerAsset
from tasks.train import STAGE1, TrainingFailed
from tasks.workspace.dataset import ClipRecord, ClipSet
from tests.tasks.support import work_on


def test_settings_of_speed_reach_the_process_and_its_error_comes_back(
    tmp_path: Path, landmarker_asset: LandmarkerAsset
) -> None:
    clip = ClipRecord(clip="a0", name="anna", subject="anna", frames=30, train=(0, 24), val=(24, 30))
    facts = ClipSet(size=64, factor=8, fps=25.0, landmark_model="m:0", clips=(clip,))
    files = {f"clips/a0/{name}": tmp_path / "gone" / name for name in ("landmarks", "masks", "latents")}
    recipe = Recipe()
    runtime = Runtime(workers=0, loader_workers=0, threads=1, cuda_graph=False)
    (tmp_path / "out").mkdir()
    with pytest.raises(TrainingFailed, match=r"clip anna: no file .*landmarks; run the stage that writes"):
        work_on(
            STAGE1,
            STAGE1.settings(recipe),
            files,
            facts,
            tmp_path / "out",
            asset=landmarker_asset,
            runtime=runtime,
        )
    job = read_job(tmp_path / "out.job" / "job.json")
    assert (job.cuda_graph, job.threads, job.device) == (False, 1, "cpu")
    assert (job.stage, job.train, job.networks) == (1, recipe.train.stage1, recipe.networks)


def test_what_only_changes_speed_is_no_setting_of_the_stage() -> None:
    settings = STAGE1.settings(Recipe()).model_dump()
    assert "working_weights" in settings["train"]  # other numbers, within the rounding of bf16
    assert not {"cuda_graph", "loader_workers", "threads", "device"} & {*settings, *settings["train"]}
