"""Where curves go: what a missing package, a failing board and a resumed run do. The packages are the real ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fye_model.runtime import BoardName
from fye_model.training.boards import Boards, Picture
from fye_model.training.job import TrainJob
from fye_model.training.loop import train
from fye_model.training.previews import as_gif, as_png
from fye_model.training.progress import METRICS, read_metrics


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_board_without_its_package_is_refused_before_anything_is_begun(make_job: Callable[..., TrainJob]) -> None:
    job = make_job(job={"boards": ("tensorboard", "wandb")})
    with pytest.raises(ValueError, match=r"runtime\.boards names wandb.*pip install wandb, or take wandb out"):
        train(job, print)
    assert not job.output.exists()


def test_a_board_that_fails_is_left_out_and_the_run_goes_on(make_job: Callable[..., TrainJob], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    lines: list[str] = []
    job = make_job(job={"board": tmp_path / "file"}, steps=2)
    assert train(job, lines.append).finished
    (said,) = [line for line in lines if line.startswith("tensorboard is left out (")]
    assert said.endswith("all curves are in metrics.jsonl")
    assert len([record for record in read_metrics(job.output / METRICS) if "loss" in record]) == 2


def test_boards_change_neither_the_identity_of_a_run_nor_what_it_may_go_on_from(
    make_job: Callable[..., TrainJob],
) -> None:
    assert make_job(job={"boards": ()}).identity() == make_job().identity()
    assert train(make_job(steps=1), print).step == 1
    assert train(make_job(steps=2, job={"boards": ()}), print).step == 2


def preview(step: int) -> Picture:
    """A still picture of an odd step, a moving one of an even."""
    frames = np.random.default_rng(step).integers(0, 255, (3, 8, 16, 3), np.uint8)
    return as_png(frames[0], 1) if step % 2 else as_gif(frames, 1, 25.0)


def tell(names: list[BoardName], folder: Path) -> list[str]:
    """Tell boards of a run of two steps, and of the same run gone on; returns what they complained about."""
    said: list[str] = []
    for first in (1, 3):
        boards = Boards(names, folder, first, {"stage": 1, "train": {"steps": 4}}, said.append)
        for step in (first, first + 1):
            boards.write(step, {"train/loss": 1.0 / step})
            boards.picture(step, preview(step))
        boards.flush()
        boards.close()
    return said


def test_mlflow_goes_on_in_the_run_of_a_resumed_training(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    assert tell(["mlflow"], tmp_path) == []
    client = MlflowClient((tmp_path / "mlflow" / "mlruns").resolve().as_uri())
    run = (tmp_path / "mlflow" / "run_id").read_text()
    assert [(m.step, m.value) for m in client.get_metric_history(run, "train/loss")] == [
        *((step, 1.0 / step) for step in (1, 2, 3, 4)),
    ]
    assert client.get_run(run).info.status == "FINISHED"
    shown = [Path(file.path).name for file in client.list_artifacts(run, "preview")]
    assert shown == ["000001.png", "000002.gif", "000003.png", "000004.gif"]


def test_wandb_stays_offline_and_goes_on_in_the_run_of_a_resumed_training(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    assert tell(["wandb"], tmp_path) == []
    runs = {path.stem for path in tmp_path.glob("wandb/wandb/offline-run-*/run-*.wandb")}
    assert len(runs) == 1
    shown = list(tmp_path.glob("wandb/**/media/**/preview*"))
    assert sorted(path.suffix for path in shown) == [".gif", ".gif", ".png", ".png"]
