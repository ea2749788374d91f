"""A training stage hands its process all that the recipe and the runtime say, and reports what the process says."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

import tasks.train
from fye_model.config import Recipe, Runtime, TrainConfig, TrainStageConfig
from fye_model.training.job import choose_loader_workers, read_job
from tasks.engine.items import Given, Item
from tasks.engine.stage import Context, given
from tasks.engine.store import FileRef, Store, file_digest
from tasks.faces.landmarker import LandmarkerAsset
from tasks.train import STAGE1, STAGE2, TrainingFailed
from tasks.workspace.dataset import ClipRecord, ClipSet
from tests.debug import DEBUG
from tests.fye_model.training.conftest import FACTOR, FPS, MODEL, SIZE, write_clip
from tests.tasks.support import work_on


def test_both_stages_leave_what_they_declare_also_with_working_weights(
    tmp_path: Path, landmarker_asset: LandmarkerAsset
) -> None:
    names = write_clip(tmp_path / "a", 20, seed=0)
    files = {f"clips/a0/{name}": tmp_path / path for name, path in names.items()}
    clip = ClipRecord(clip="a0", name="a", subject="anna", frames=20, train=(0, 14), val=(14, 20))
    facts = ClipSet(size=SIZE, factor=FACTOR, fps=FPS, landmark_model=MODEL, clips=(clip,))
    often = {"batch_size": 2, "checkpoint_every": 1, "validate_every": 1, "validation_batches": 1}
    half = TrainStageConfig(steps=2, working_weights="bf16", **often)
    recipe = Recipe(
        networks=DEBUG.networks, train=TrainConfig(stage1=half, stage2=half.model_copy(update={"frames": 4}))
    )
    kept: dict[str, Path] = {}
    for stage in (STAGE1, STAGE2):
        out = tmp_path / stage.name
        out.mkdir()
        runtime = Runtime(workers=0, threads=1)
        row = work_on(stage, stage.settings(recipe), files, facts, out, asset=landmarker_asset, runtime=runtime)
        assert row.checkpoints == ("checkpoint-000001", "checkpoint-000002")
        assert row.best == min(row.validation_loss, key=lambda name: row.validation_loss[name])
        assert not out.with_name(f"{out.name}.job").exists()
        assert list(out.with_name(f"{out.name}.tensorboard").glob("events*")) and not (out / "tensorboard").exists()
        best = out / row.best
        kept = {path.relative_to(best).as_posix(): path for path in best.rglob("*") if path.is_file()}
        files |= {f"init/{name}": path for name, path in kept.items() if stage is STAGE1}


def test_previews_are_made_by_an_autoencoder_that_is_not_in_the_key(
    tmp_path: Path, landmarker_asset: LandmarkerAsset
) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    ref = FileRef(str(path), file_digest(path), path.stat().st_size)
    clip = ClipRecord(clip="a0", name="anna", subject="anna", frames=30, train=(0, 24), val=(24, 30))
    facts = ClipSet(size=64, factor=8, fps=25.0, landmark_model="m:0", clips=(clip,))
    store, settings = Store(f"file://{tmp_path}/store"), STAGE1.settings(Recipe())
    item = Item("stage 1", "stage 1", {f"clips/a0/{name}": ref for name in ("landmarks", "masks", "latents")}, facts)
    seen = replace(item, beside={"vae/config.json": ref})
    assert STAGE1.keys(store, settings, landmarker_asset, [seen]) == STAGE1.keys(
        store, settings, landmarker_asset, [item]
    )
    files = given(store, seen, tmp_path / "out").files
    with pytest.raises(ValueError, match="stage 1: vae is not declared"):
        STAGE1.keys(store, settings, landmarker_asset, [replace(item, beside={"vae": ref})])
    (tmp_path / "out").mkdir()
    with pytest.raises(TrainingFailed):
        work_on(STAGE1, settings, files, facts, tmp_path / "out", asset=landmarker_asset)
    assert read_job(tmp_path / "out.job" / "job.json").previews == tmp_path


def test_settings_of_speed_reach_the_process_and_its_error_comes_back(
    tmp_path: Path, landmarker_asset: LandmarkerAsset
) -> None:
    clip = ClipRecord(clip="a0", name="anna", subject="anna", frames=30, train=(0, 24), val=(24, 30))
    facts = ClipSet(size=64, factor=8, fps=25.0, landmark_model="m:0", clips=(clip,))
    files = {f"clips/a0/{name}": tmp_path / "gone" / name for name in ("landmarks", "masks", "latents")}
    recipe = Recipe()
    runtime = Runtime(workers=0, loader_workers=3, loader_timeout_s=9, threads=1, cuda_graph=False, offload=False)
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
    assert (job.cuda_graph, job.offload, job.threads, job.device, job.loader_workers) == (False, False, 1, "cpu", 3)
    assert job.loader_timeout_s == 9
    assert (job.stage, job.train, job.networks) == (1, recipe.train.stage1, recipe.networks)


def test_what_only_changes_speed_is_no_setting_of_the_stage() -> None:
    settings = STAGE1.settings(Recipe()).model_dump()
    assert "working_weights" in settings["train"]  # other numbers, within the rounding of bf16
    speed = {"boards", "cuda_graph", "offload", "loader_workers", "loader_timeout_s", "threads", "device"}
    assert not speed & {*settings, *settings["train"]}


@pytest.mark.parametrize(
    ("cpus", "processes", "workers"), [(128, 8, 8), (64, 8, 7), (16, 1, 8), (8, 8, 1), (4, 8, 1), (2, 1, 1)]
)
def test_on_gpus_every_training_process_gets_loaders_out_of_its_share_of_the_cpus(
    cpus: int, processes: int, workers: int
) -> None:
    runtime = Runtime(processes=processes)
    assert choose_loader_workers(runtime, on_gpu=True, cpus=cpus)[0] == workers
    assert choose_loader_workers(runtime, on_gpu=False, cpus=cpus)[0] == 0
    for on_gpu in (False, True):
        asked = Runtime(processes=processes, loader_workers=5)
        assert choose_loader_workers(asked, on_gpu, cpus) == (5, "as asked for")


def test_a_run_says_how_many_loaders_it_takes_and_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_process(command: list[str]) -> None:
        raise TrainingFailed("this test looks at the job alone")

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(tasks.train, "supervise", no_process)
    asset = LandmarkerAsset(tmp_path / "none.task", "m:0", "0" * 64, has_matrix=False, source="test")
    clip = ClipRecord(clip="a0", name="anna", subject="anna", frames=30, train=(0, 24), val=(24, 30))
    facts = ClipSet(size=64, factor=8, fps=25.0, landmark_model="m:0", clips=(clip,))
    files = {f"clips/a0/{name}": tmp_path / "gone" / name for name in ("landmarks", "masks", "latents")}
    context = Context(Runtime(processes=1), "cpu", asset)
    (tmp_path / "out").mkdir()
    worker = STAGE1.open(STAGE1.settings(Recipe()), context)
    with pytest.raises(TrainingFailed, match="the job alone"):
        worker.process(Given("stage 1", files, facts, tmp_path / "out"))
    said = "loader workers of each training process: 0 (training computes on the CPUs itself)"
    assert said in [record.getMessage() for record in caplog.records]
    assert read_job(tmp_path / "out.job" / "job.json").loader_workers == 0
