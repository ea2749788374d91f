"""Weights spread over two processes: the losses of two that copy them, and checkpoints for one to go on from."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from fye_model.training import checkpoint
from fye_model.training.data import TrainingSamples
from fye_model.training.index import read_index
from fye_model.training.job import TrainJob, launch_command
from fye_model.training.loop import train
from fye_model.training.progress import METRICS, read_metrics

Make = Callable[..., TrainJob]


def run_two(job: TrainJob) -> str:
    """Run a job in two processes of this machine to its end; returns what they say."""
    job_file = job.output.with_suffix(".json")
    job.write(job_file)
    found = subprocess.run(
        launch_command(job_file, "torchrun", 2),
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stdout
    return found.stdout


def losses(job: TrainJob) -> list[float]:
    return [value for record in read_metrics(job.output / METRICS) for name, value in record.items() if "loss" in name]


def compare(ours: Path, theirs: Path, tolerance: float) -> None:
    """All tensors of two checkpoints: the networks', the optimizer's."""
    files = sorted(path.relative_to(ours) for path in ours.rglob("*.safetensors"))
    assert files == sorted(path.relative_to(theirs) for path in theirs.rglob("*.safetensors"))
    for file in files:
        found, expected = load_file(ours / file), load_file(theirs / file)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=tolerance, msg=f"{file} {name}")


def one_share_is_unconditional(job: TrainJob) -> bool:
    """Whether in some step no item of the one process looks at its reference, and one of the other does."""
    samples = TrainingSamples(read_index(job.index), job.train, None, job.noise.train_timesteps)
    half = job.train.batch_size // 2
    shares = [
        [all(bool(samples[step, first + item]["unconditional"]) for item in range(half)) for first in (0, half)]
        for step in range(1, job.train.steps + 1)
    ]
    return any(first != second for first, second in shares)


def alike(stage: int) -> dict[str, object]:
    """Settings of a training in which some process has nothing to learn for a part of the networks."""
    return {"stage": stage, "learning_rate": 1e-3, "condition_dropout": 0.7, "accumulate": 3 - stage}


@pytest.mark.parametrize("stage", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sharded_weights_learn_as_whole_ones_do(make_job: Make, stage: int) -> None:
    """One process stands for several that copy the weights: that these learn alike has a test of its own."""
    start = None if stage == 1 else train(make_job(steps=1, output="start"), print).checkpoints[-1]
    whole = make_job(output="whole", job={"init": start}, **alike(stage))
    spread = make_job(output="spread", job={"init": start, "shard": True}, **alike(stage))
    assert stage == 2 or one_share_is_unconditional(whole), "the case in which processes would wait for ever"
    train(whole, print)
    assert "are spread over 2 processes" in run_two(spread)
    assert losses(spread) == pytest.approx(losses(whole), rel=1e-4)
    compare(spread.output / "checkpoint-000004", whole.output / "checkpoint-000004", 2e-5)
    assert checkpoint.read_meta(spread.output / "checkpoint-000004").processes == 2
    if stage == 2:
        return

    longer = {**alike(stage), "steps": 6}
    alone = make_job(output="spread", job={"shard": True}, **longer)
    train(alone, print)  # by itself a process has nothing to spread
    run_two(make_job(output="whole", job={"shard": True}, **longer))
    assert losses(alone) == pytest.approx(losses(whole), rel=1e-3)
    compare(alone.output / "checkpoint-000006", whole.output / "checkpoint-000006", 1e-4)


def test_what_is_not_spread_is_refused_with_what_to_change(make_job: Make) -> None:
    with pytest.raises(
        ValidationError, match=r"runtime\.shard needs train\.stage1\.working_weights fp32 and ema_decay 0"
    ):
        make_job(job={"shard": True}, ema_decay=0.9)
