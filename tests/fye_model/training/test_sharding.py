"""Weights spread over two processes: the losses of two that copy them, and checkpoints for one to go on from."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
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


SEVERAL = """
import os, sys
from fye_model.training.__main__ import main
for job in sys.argv[1:]:
    port, _, file = job.partition(":")
    # torchrun's own store tells a second group where those of the first were
    os.environ.update(MASTER_PORT=port, TORCHELASTIC_USE_AGENT_STORE="False")
    sys.argv[1:] = ["--job", file]
    if code := main():
        sys.exit(code)
"""


def run_two(*jobs: TrainJob) -> str:
    """Run jobs one after another in two processes of this machine to their end; returns what they say.

    Each as the product launches it, but for the processes, whose start takes longer than such a job.
    """
    files = [job.output.with_suffix(".json") for job in jobs]
    for job, file in zip(jobs, files, strict=True):
        job.write(file)
    script = files[0].with_name("several.py")
    script.write_text(SEVERAL)
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in jobs]
        ports = [free.getsockname()[1] for free in sockets]
    command = launch_command(files[0], "torchrun", 2)
    module = command.index("fye_model.training") - 1
    root = Path(__file__).parents[3]
    found = subprocess.run(
        [*command[:module], str(script), *(f"{port}:{file}" for port, file in zip(ports, files, strict=True))],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
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


@pytest.mark.slow
def test_sharded_weights_learn_as_whole_ones_do_and_either_goes_on_from_the_other(make_job: Make) -> None:
    """One process stands for several that copy the weights: that these learn alike has a test of its own."""
    start = train(make_job(steps=1, output="start"), print).checkpoints[-1]
    wholes, spreads = [], []
    for stage in (1, 2):
        init = start if stage == 2 else None
        whole = make_job(output=f"whole{stage}", job={"init": init}, **alike(stage))
        assert stage == 2 or one_share_is_unconditional(whole), "the case in which processes would wait for ever"
        train(whole, print)
        wholes.append(whole)
        spreads.append(make_job(output=f"spread{stage}", job={"init": init, "shard": True}, **alike(stage)))
    longer = {**alike(1), "steps": 6}
    two = make_job(output="two", job={"shard": True}, **longer)
    shutil.copytree(wholes[0].output, two.output)
    assert run_two(*spreads, two).count("are spread over 2 processes") == 3
    for whole, spread in zip(wholes, spreads, strict=True):
        assert losses(spread) == pytest.approx(losses(whole), rel=1e-4)
        compare(spread.output / "checkpoint-000004", whole.output / "checkpoint-000004", 2e-5)
        assert checkpoint.read_meta(spread.output / "checkpoint-000004").processes == 2

    alone = make_job(output="spread1", job={"shard": True}, **longer)
    train(alone, print)  # by itself a process has nothing to spread
    assert losses(alone) == pytest.approx(losses(two), rel=1e-3)
    compare(alone.output / "checkpoint-000006", two.output / "checkpoint-000006", 1e-4)


def test_what_is_not_spread_is_refused_with_what_to_change(make_job: Make) -> None:
    with pytest.raises(
        ValidationError, match=r"runtime\.shard needs train\.stage1\.working_weights fp32 and ema_decay 0"
    ):
        make_job(job={"shard": True}, ema_decay=0.9)
