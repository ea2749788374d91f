"""An autoencoder of another factor is followed by everything that lies on the latent grid, from masks to training."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from flows.wiring import prepare_data, train_model
from fye_model.config import Runtime, TrainStageConfig
from fye_model.landmarks.table import read_masks
from fye_model.training.job import TrainJob
from fye_model.training.loop import train
from tasks.engine.ahead import Plan
from tasks.engine.items import Item, StageResult
from tasks.engine.stage import AnyStage
from tasks.engine.store import Store
from tasks.faces.landmarker import LandmarkerAsset, geometry_source
from tasks.workspace.dataset import write_index
from tasks.workspace.recipes import load_recipe
from tasks.workspace.sources import Root, register_root
from tests.flows.plain import Plain

pytestmark = pytest.mark.slow


class Reached(Exception):
    """The stage that the wiring was followed to; its one item."""


class UntilTraining(Plain):
    """Up to the training process."""

    def stage(self, stage: AnyStage, items: Sequence[Item[Any]], plan: Plan | None = None) -> StageResult[Any]:
        if stage.name == "train_stage1":
            raise Reached(items[0])
        result = super().stage(stage, items)
        assert not result.quarantined, result.quarantined
        return result


def test_masks_latents_and_training_follow_the_factor_of_the_autoencoder(
    sample_clips: list[Path], landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    overrides = ["autoencoder.block_out_channels=[8,8,16]", "networks.landmark_channels=[4,4,8]"]
    recipe = load_recipe("debug", overrides)
    assert recipe.autoencoder.factor == 4 and recipe.clips.size == 64
    (tmp_path / "videos").mkdir()
    shutil.copy(sample_clips[0], tmp_path / "videos")
    runtime = Runtime(workers=0, threads=1, device="cpu")
    run = UntilTraining(Store(tmp_path / "work"), recipe, runtime, landmarker_asset)
    register_root(run.store, Root(str(tmp_path / "videos")))
    with pytest.raises(Reached) as reached:
        train_model(run, prepare_data(run))
    item: Item[Any] = reached.value.args[0]
    files = {name: run.store.local_path(ref.path) for name, ref in item.inputs.items()}
    (clip,) = item.facts.clips
    for masks in read_masks(files[f"clips/{clip.clip}/masks"]):
        assert masks.shape == (clip.frames, 16, 16)
    assert load_file(files[f"clips/{clip.clip}/latents"])["latents"].shape == (clip.frames, 4, 16, 16)

    index = write_index(tmp_path / "index.json", files, item.facts, geometry_source(landmarker_asset))
    short: TrainStageConfig = recipe.train.stage1.model_copy(update={"steps": 1, "checkpoint_every": 1})
    job = TrainJob(
        stage=1, index=index, output=tmp_path / "out", networks=recipe.networks, train=short, device="cpu", threads=1
    )
    assert train(job, lambda line: None).finished
