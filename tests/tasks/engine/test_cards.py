"""One run at a time on a GPU: who comes second waits and is told for whom, and a killed holder holds nothing."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client

from fye_model.config import Runtime
from fye_model.devices import Device, RunDevice
from tasks.engine import cards, limits
from tasks.engine.ahead import Ahead
from tasks.engine.store import Store
from tasks.plan import STAGES
from tests.tasks.ahead import DoubleAhead
from tests.tasks.engine.test_device import contexts, two_gpus

__all__ = ["two_gpus"]

HOLDER = """
import sys, time
from pathlib import Path
from tasks.engine import cards, limits
cards.FOLDER = Path(sys.argv[1])
with cards.held_cards(sys.argv[2:], "train_stage1 of work/first"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cards, "FOLDER", tmp_path / "cards")
    monkeypatch.setattr(cards, "_AGAIN_S", 0.05)
    return tmp_path / "cards"


def holder(folder: Path, *names: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", HOLDER, str(folder), *names]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_second_waits_is_told_for_whom_and_goes_on_when_the_first_is_killed(folder: Path) -> None:
    first = holder(folder, "GPU-1", "GPU-2")
    said: list[str] = []

    def log(line: str) -> None:
        said.append(line)
        first.send_signal(signal.SIGKILL)

    with cards.held_cards(["GPU-2"], "latents of work/second", log):
        first.wait()
        second = (folder / "GPU-2.lock").read_text()
    assert f"is in use by train_stage1 of work/first, process {first.pid}, since " in said[0]
    assert said[0].startswith("latents of work/second waits for the GPU GPU-2") and "after" in said[1]
    assert second.startswith("latents of work/second, process ")


def test_another_card_is_not_waited_for_and_one_that_was_let_go_of_is_free(folder: Path) -> None:
    first = holder(folder, "GPU-1")
    try:
        said: list[str] = []
        for _ in range(2):
            with cards.held_cards(["GPU-2"], "latents of work/second", said.append):
                pass
        assert said == [] and (folder / "GPU-2.lock").read_text() == ""
    finally:
        first.kill()
        first.wait()


def test_a_link_in_the_way_is_not_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (tmp_path / "precious").write_text("kept")
    (folder / "GPU-1.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError), cards.held_cards(["GPU-1"], "latents of work/second"):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.usefixtures("two_gpus")
def test_work_takes_the_first_cards_or_the_numbered_one_and_none_on_the_cpu() -> None:
    assert cards.cards_of(Device("cuda", "", 2)) == ("test-card-0", "test-card-1")
    assert cards.cards_of(Device("cuda", "", 2), 1) == ("test-card-0",)
    assert cards.cards_of(Device("cuda:1", "", 2), 1) == ("test-card-1",)
    assert cards.cards_of(Device("cpu", "")) == ()


@pytest.mark.usefixtures("two_gpus")
def test_a_stage_on_the_gpu_waits_for_another_run_and_one_on_the_cpu_does_not(folder: Path, tmp_path: Path) -> None:
    stages = {stage.name: stage for stage in STAGES}
    first = holder(folder, "test-card-0")
    try:
        contexts(stages["landmarks"], Store(tmp_path / "data"), Runtime(workers=0))
        contexts(stages["select"], Store(tmp_path / "shared"), Runtime(workers=0, share_gpu=True))
        started = subprocess.Popen([sys.executable, "-c", f"import os,time; time.sleep(1); os.kill({first.pid}, 9)"])
        begun = time.monotonic()
        contexts(stages["select"], Store(tmp_path / "waits"), Runtime(workers=0))
        assert time.monotonic() - begun > 0.5 and first.poll() == -9
        started.wait()
    finally:
        first.kill()
        first.wait()


@pytest.mark.usefixtures("two_gpus")
def test_who_works_ahead_waits_for_nobody_and_takes_a_worker_a_card_when_they_are_free(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("tasks.engine.ahead._AGAIN_S", 0.0)
    first = holder(folder, "test-card-1")
    work = Ahead(Store(tmp_path), Runtime(workers=4), RunDevice(), None, DoubleAhead(), {})
    try:
        assert work.hands() is None and work.hands() is None
    finally:
        first.kill()
        first.wait()
    (waits,) = [line for line in caplog.messages if "when the GPU is free" in line]
    assert f"in use by train_stage1 of work/first, process {first.pid}" in waits, "it is said once"
    hands = work.hands()
    assert hands is not None and (hands.workers, hands.share.cpus) == (2, 0)
    with pytest.raises(cards.InUse), cards.held_cards(["test-card-0"], "latents of work/second", wait=False):
        pass
    work.end(None)
    with cards.held_cards(["test-card-0", "test-card-1"], "latents of work/second", wait=False):
        pass


@pytest.mark.usefixtures("prefect_server")
def test_who_does_not_wait_leaves_prefect_s_limit_to_who_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "of a deployment")
    limits.make_limit(1)
    with get_client(sync_client=True) as client:
        free = client.read_global_concurrency_limit_by_name(limits.LIMIT)
    said: list[str] = []
    with limits.gpu_slots(1, said.append, wait=False):
        with pytest.raises(cards.InUse, match="1 of 1 slots"), limits.gpu_slots(1, said.append, wait=False):
            pass
        monkeypatch.setattr(SyncPrefectClient, "read_global_concurrency_limit_by_name", lambda *_: free)
        begun = time.monotonic()
        with pytest.raises(cards.InUse, match="no slot left"), limits.gpu_slots(1, said.append, wait=False):
            pass
        assert time.monotonic() - begun < 60
    with limits.gpu_slots(1, said.append, wait=False):
        assert not said
