"""Loader workers that hang, die or cannot read: what is said, what is recovered, and what stays."""

from __future__ import annotations

import gc
import logging
import multiprocessing.forkserver
import multiprocessing.synchronize
import os
import shutil
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch

from fye_model.config import TrainStageConfig
from fye_model.training import loader
from fye_model.training.beginning import start_server
from fye_model.training.data import StepBatches, TrainingSamples
from fye_model.training.index import read_index
from fye_model.training.loader import RESTARTS, Batches, LoaderFailed

CPU = torch.device("cpu")


@pytest.fixture
def own(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data set that a test may spoil; loaders that are waited for are looked at often."""
    monkeypatch.setattr(loader, "_LOOK_S", 0.2)
    start_server()
    return Path(shutil.copytree(data.parent, tmp_path / "own")) / data.name


def samples(index: Path) -> TrainingSamples:
    return TrainingSamples(read_index(index), TrainStageConfig(steps=10, batch_size=2), None, 1000)


def test_a_killed_worker_costs_no_batch_and_one_that_always_dies_ends_with_what_to_do(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips, keys = samples(own), StepBatches(1, 60, 2, 1, 0, 1)
    batches = Batches(clips, keys, 1, CPU, timeout_s=60)
    taken = [next(batches)]
    with pytest.raises(LoaderFailed) as caught, caplog.at_level(logging.WARNING):
        while True:
            batches._processes[0].kill()
            batches._processes[0].join()
            taken += [next(batches) for _ in range(4)]  # more than a loader has made beforehand
    assert caplog.messages[0].endswith("Loaders are started again") and len(caplog.messages) == RESTARTS
    expected = torch.stack([clips[step, item]["noise"] for step in range(1, len(taken) + 1) for item in (0, 1)])
    assert torch.equal(torch.cat([batch["noise"] for batch in taken]), expected)
    message = str(caught.value)
    step = int(message.split()[1].strip(":"))
    assert step > len(taken) and clips.place((step, 1)) in message
    for said in ("killed by signal 9 (SIGKILL)", "3 times", "runtime.loader_workers to 0", "/dev/shm", "checkpoint"):
        assert said in message, said


def test_a_worker_whose_death_is_not_known_yet_costs_no_batch(own: Path) -> None:
    """What it sent before cannot be fetched from it any more; the fork server tells later how it ended."""
    with closing(Batches(samples(own), StepBatches(1, 8, 2, 1, 0, 1), 1, CPU, timeout_s=60)) as batches:
        taken = [next(batches)]
        (worker,), server = batches._processes, multiprocessing.forkserver._forkserver._forkserver_pid
        time.sleep(0.5)  # it has sent more
        os.kill(server, signal.SIGSTOP)
        try:
            worker.kill()
            threading.Timer(0.5, os.kill, (server, signal.SIGCONT)).start()
            taken += batches
        finally:
            os.kill(server, signal.SIGCONT)
        assert len(taken) == 8 and batches._processes[0].pid != worker.pid


class DiesHoldingLocks(TrainingSamples):
    """Whose worker is killed once, at step 3, with every lock that it shares through an event."""

    marker: Path

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        if key[0] == 3 and not self.marker.exists():
            self.marker.touch()
            for one in gc.get_objects():
                if isinstance(one, multiprocessing.synchronize.Event):
                    one._cond.acquire()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(key)


def test_a_worker_that_is_killed_while_it_holds_a_lock_stops_nobody(own: Path, tmp_path: Path) -> None:
    clips = DiesHoldingLocks(read_index(own), TrainStageConfig(steps=10, batch_size=2), None, 1000)
    clips.marker = tmp_path / "died"
    with closing(Batches(clips, StepBatches(1, 4, 2, 1, 0, 1), 1, CPU, timeout_s=60)) as batches:
        taken: list[dict[str, torch.Tensor]] = []
        taking = threading.Thread(target=lambda: taken.extend(batches), daemon=True)
        taking.start()
        taking.join(30)
        assert not taking.is_alive() and len(taken) == 4 and clips.marker.exists()


def test_files_that_never_come_are_named_with_what_to_do(own: Path) -> None:
    clips = samples(own)
    for path in own.parent.glob("*/latents.safetensors"):
        path.unlink()
        os.mkfifo(path)  # opening it waits for a writer, as a stalled network file system does
    batches = Batches(clips, StepBatches(3, 4, 2, 1, 0, 1), 1, CPU, timeout_s=1)
    with pytest.raises(LoaderFailed) as caught:
        next(batches)
    message = str(caught.value)
    assert message.startswith("step 3: a loader worker gave no batch for 1 s; the batch is of ")
    for said in (clips.place((3, 0)), "file system", "loader_timeout_s", "runtime.loader_workers to 0", "checkpoint"):
        assert said in message, said
    batches._processes[0].join(5)
    assert not batches._processes[0].is_alive()


def test_what_a_worker_cannot_read_is_said_in_its_own_words(own: Path) -> None:
    clips = samples(own)
    for path in own.parent.glob("*/masks.parquet"):
        path.write_bytes(b"PAR1")
    messages = []
    for workers in (0, 1):
        batches = Batches(clips, StepBatches(1, 2, 2, 1, 0, 1), workers, CPU, timeout_s=60)
        with closing(batches), pytest.raises(ValueError) as caught:
            next(batches)
        messages.append(str(caught.value))
    assert messages[0] == messages[1] and "\n" not in messages[0]
    assert messages[0].startswith(f"step 1, {clips.place((1, 0))}: ")
