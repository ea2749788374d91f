"""The pool survives workers that die or hang, and gives up a poison job with its reason."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tasks.engine.cluster import start_ray
from tasks.engine.contract import Resources
from tasks.engine.pool import GivenUp, RayGone, run_inline, run_pool, shutdown
from tests.tasks.support import job_handler


@pytest.fixture(scope="module", autouse=True)
def ray_home() -> Iterator[Path]:
    """Ray's folder for these tests alone, with a short name; a cluster of somebody else's is said to run."""
    with tempfile.TemporaryDirectory(prefix="r") as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", home)
        patch.delenv("RAY_ADDRESS", raising=False)
        Path(home, "ray").mkdir()
        Path(home, "ray", "ray_current_cluster").write_text("127.0.0.1:1")
        yield Path(home)
        shutdown()


def test_every_job_ends_although_workers_die_and_hang(tmp_path: Path) -> None:
    jobs = [("say", f"a{n}") for n in range(8)]
    jobs[2] = ("die_once", str(tmp_path / "died"))
    jobs[4] = ("die", "")
    jobs[6] = ("hang", "")
    results = dict(run_pool(job_handler, jobs, workers=2, timeout_s=1.0, attempts=2, first_job_extra_s=5.0))
    assert sorted(results) == list(range(8))
    assert results[0] == "A0"
    assert results[2] == "die_once"
    assert isinstance(results[4], GivenUp) and results[4].reason == "worker_died"
    assert isinstance(results[6], GivenUp) and results[6].reason == "timeout"
    assert "2 times" in results[4].message


class _Releasing(logging.Handler):
    """Lets a job go that waits for this file, when it is named."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.lines = path, list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        if "still at" in record.getMessage():
            self.lines.append(record.getMessage())
            self.path.touch()


def test_a_job_that_the_others_wait_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.engine.pool.STRAGGLER_S", 0.6)
    monkeypatch.setattr(logging.getLogger("tasks.engine.pool"), "level", logging.INFO)
    releasing = _Releasing(tmp_path / "named")
    logging.getLogger("tasks.engine.pool").addHandler(releasing)
    jobs, names = [("wait", str(releasing.path)), ("say", "a"), ("say", "b")], ["opera", "a", "b"]
    try:
        results = dict(run_pool(job_handler, jobs, workers=2, timeout_s=60.0, attempts=1, names=names))
    finally:
        logging.getLogger("tasks.engine.pool").removeHandler(releasing)
    assert results == {0: "wait", 1: "A", 2: "B"}
    assert releasing.lines[0].startswith("1 of 2 workers have nothing left to do; still at opera (")


STRANGER = """
import sys
from ray._raylet import GcsClient
print(GcsClient(address=sys.argv[1]).get_all_job_info())
"""


def test_only_who_knows_its_token_may_talk_to_our_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens to the network, and runs what it is told."""
    start_ray()
    import ray

    words = [sys.executable, "-c", STRANGER, ray.get_runtime_context().gcs_address]
    assert subprocess.run(words, capture_output=True, timeout=60).returncode == 0, "what this process starts knows it"
    for mode, token in (("token", "0" * 64), ("disabled", "")):
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode and "authenticat" in done.stderr.lower(), done.stdout + done.stderr


def test_an_exception_of_the_handler_reaches_the_caller_as_itself() -> None:
    with pytest.raises(ValueError, match="what went wrong"):
        list(run_pool(job_handler, [("raise", "what went wrong")], workers=1, timeout_s=30, attempts=2))


def test_recycled_workers_lose_no_job() -> None:
    jobs = [("say", str(n)) for n in range(7)]
    results = run_pool(job_handler, jobs, workers=2, timeout_s=30, attempts=1, recycle_after=2)
    assert dict(results) == {n: str(n) for n in range(7)}


def test_workers_are_as_nice_as_the_run() -> None:
    """Nicer ones would stand still on a busy machine, and their clips be given up."""
    assert list(run_pool(job_handler, [("niceness", "")], workers=1, timeout_s=30, attempts=1)) == [(0, os.nice(0))]


def test_inline_gives_the_same_results_in_order() -> None:
    assert list(run_inline(job_handler, [("say", "a"), ("say", "b")])) == [(0, "A"), (1, "B")]


def test_ray_leaves_signals_as_they_were_and_no_folder_behind(ray_home: Path) -> None:
    """While it runs, and after it: it sets its own handler when it starts, and the system's default when it stops."""
    shutdown()
    for name in ("left", "taken"):
        (ray_home / f"fye-ray-{name}").mkdir()
        (ray_home / f"fye-ray-{name}" / "held").touch()
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with FileLock(ray_home / "fye-ray-taken" / "held"):
            assert list(run_pool(job_handler, [("say", "a")], workers=1, timeout_s=30, attempts=1)) == [(0, "A")]
            os.kill(os.getpid(), signal.SIGTERM)
            there = {path.name for path in ray_home.glob("fye-ray-*")}
            assert len(there) == 2 and "fye-ray-taken" in there, "whose process is gone is cleared up, no other"
            (ours,) = there - {"fye-ray-taken"}
            assert (ray_home / ours).stat().st_mode & 0o777 == 0o700, "Ray's sockets are in it"
            shutdown()
            assert caught(signal.SIGTERM), "the next one would end this process"
            os.kill(os.getpid(), signal.SIGTERM)
        assert came == [signal.SIGTERM] * 2
        assert {path.name for path in ray_home.glob("fye-ray-*")} == {"fye-ray-taken"}
    finally:
        signal.signal(signal.SIGTERM, before)


def caught(number: int) -> bool:
    """Whether the system calls a handler for a signal, whatever Python thinks."""
    (mask,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "SigCgt" in line]
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("process", ["gcs_server", "raylet"])
def test_ray_s_own_death_is_an_error_at_once_and_no_job_is_blamed(process: str) -> None:
    start_ray()
    import ray

    victim: Any = ray._private.worker._global_node.all_processes[process][0].process
    killer = threading.Timer(2.0, victim.kill)
    killer.start()
    begun = time.monotonic()
    with pytest.raises(RayGone, match=f"its process {process} was killed.*the same command again"):
        list(run_pool(job_handler, [("hang", "")], workers=1, timeout_s=100.0, attempts=1))
    assert time.monotonic() - begun < 50 and not ray.is_initialized()


@pytest.mark.parametrize("process", ["gcs_server", "raylet"])
def test_ray_that_died_between_two_pools_is_replaced(process: str) -> None:
    start_ray()
    import ray

    victim: Any = ray._private.worker._global_node.all_processes[process][0].process
    victim.kill()
    victim.wait()
    ((_, result),) = run_pool(job_handler, [("say", "here")], workers=1, timeout_s=100.0, attempts=1)
    assert result == "HERE"


def test_actors_that_declare_a_gpu_see_one_card_each_and_are_no_more_than_the_cards(tmp_path: Path) -> None:
    shutdown()
    import ray

    # Ray takes our word for GPUs: what it hands out is what is tested
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.WARNING}
    ray.init("local", num_cpus=4, num_gpus=2, **quiet)
    try:
        jobs = [("meet", f"{tmp_path}:2")] * 4
        share = Resources(gpus=1, memory_gib=0.1)
        found = [result for _, result in run_pool(job_handler, jobs, workers=4, timeout_s=60, attempts=1, share=share)]
        assert {card for _, card in found} == {"0", "1"}
        assert len({process for process, _ in found}) == 2, "a worker too many would have to share a card"
        assert len(set(found)) == 2, "a worker keeps its card"
    finally:
        shutdown()
