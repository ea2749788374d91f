"""The pool survives workers that die or hang, and gives up a poison job with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
