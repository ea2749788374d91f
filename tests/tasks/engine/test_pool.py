"""The pool survives workers that die or hang, and gives up a poison job with its reason."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.engine.contract import Resources
from tasks.engine.pool import GivenUp, run_inline, run_pool, shutdown
from tests.tasks.support import job_handler


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    yield
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


def test_an_exception_of_the_handler_reaches_the_caller_as_itself() -> None:
    with pytest.raises(ValueError, match="what went wrong"):
        list(run_pool(job_handler, [("raise", "what went wrong")], workers=1, timeout_s=30, attempts=2))


def test_recycled_workers_lose_no_job() -> None:
    jobs = [("say", str(n)) for n in range(7)]
    results = run_pool(job_handler, jobs, workers=2, timeout_s=30, attempts=1, recycle_after=2)
    assert dict(results) == {n: str(n) for n in range(7)}


def test_inline_gives_the_same_results_in_order() -> None:
    assert list(run_inline(job_handler, [("say", "a"), ("say", "b")])) == [(0, "A"), (1, "B")]


def test_actors_that_declare_a_gpu_see_one_card_each_and_are_no_more_than_the_cards(tmp_path: Path) -> None:
    shutdown()
    import ray

    # Ray takes our word for GPUs: what it hands out is what is tested
    ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    try:
        jobs = [("meet", f"{tmp_path}:2")] * 4
        share = Resources(gpus=1, memory_gib=0.1)
        found = [result for _, result in run_pool(job_handler, jobs, workers=4, timeout_s=60, attempts=1, share=share)]
        assert {card for _, card in found} == {"0", "1"}
        assert len({process for process, _ in found}) == 2, "a worker too many would have to share a card"
        assert len(set(found)) == 2, "a worker keeps its card"
    finally:
        shutdown()
