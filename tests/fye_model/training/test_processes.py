"""Training by several processes, of one machine and of two: real launches that meet on the loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from fye_model.training import checkpoint
from fye_model.training.job import TrainJob, launch_command
from fye_model.training.loop import train
from tests.fye_model.training.test_loop import quiet, wait_for, weights

Make = Callable[..., TrainJob]


def two_nodes(jobs: tuple[TrainJob, TrainJob]) -> list[tuple[int, str]]:
    """Exit code and output of two torchruns, of one process each, that meet on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{free.getsockname()[1]}"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-id=faces"]
    torchrun += ["--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}", "--local-addr=127.0.0.1"]
    nodes = []
    for number, job in enumerate(jobs):
        job_file = job.output.parent / f"node{number}.json"
        job.write(job_file)
        nodes.append(
            subprocess.Popen(
                [*torchrun, "-m", "fye_model.training", "--job", str(job_file)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=Path(__file__).parents[3],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        )
    said = [node.communicate(timeout=120)[0] for node in nodes]
    return [(node.returncode, text) for node, text in zip(nodes, said, strict=True)]


@pytest.mark.slow
def test_two_nodes_share_the_batch_into_one_folder_come_to_the_same_weights_and_refuse_two_folders(
    make_job: Make,
) -> None:
    settings = {"steps": 3, "checkpoint_every": 3, "learning_rate": 1e-3, "condition_dropout": 0.5}
    alone = train(make_job(output="alone", **settings), quiet)
    job = make_job(output="pair", **settings)
    ends = two_nodes((job, job))
    assert [code for code, _ in ends] == [0, 0], ends
    saved = job.output / "checkpoint-000003"
    ours, theirs = weights(saved), weights(alone.checkpoints[-1])
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=2e-5, msg=name)
    both = [json.loads((p / "validation.json").read_text())["loss"] for p in (saved, alone.checkpoints[-1])]
    assert both[0] == pytest.approx(both[1], rel=1e-4)
    assert checkpoint.read_meta(saved).processes == 2
    longer = make_job(output="pair", **settings | {"steps": 4})
    for code, said in two_nodes((longer, longer.model_copy(update={"output": job.output / "elsewhere"}))):
        assert code == 1
        assert re.search(r"error: the processes would go on from different steps \((3, 0|0, 3); .*one folder", said), (
            said
        )


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_the_processes_of_a_killed_torchrun_end_with_it(make_job: Make, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    job = make_job(steps=100_000, checkpoint_every=100_000, validate_every=100_000)
    job_file = job.output.with_suffix(".json")
    job.write(job_file)
    process = subprocess.Popen(
        launch_command(job_file, "torchrun"),  # one process under it is enough: what it does, each does
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(process, "step 2/100000 loss")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while any(is_running(child) for child in children):
            assert time.monotonic() < deadline, "processes of a killed torchrun go on"
            time.sleep(0.1)
        assert not list(temporary.glob("torchelastic*")), "a folder for logs that nobody writes is left"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def is_running(process: str) -> bool:
    """Whether a process of this number is there and no zombie that nobody has asked about."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
