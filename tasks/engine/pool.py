"""A pool of Ray actors that survives clips which hang, crash or eat memory.

Jobs and results are small; the data stay on disk. A worker that dies or overruns its time is replaced, its job is
tried again, and after `attempts` the job is given up with the reason, so that one poison clip costs one clip. Where Ray
itself is gone, or starts no worker, nothing is given up: that is an error of the whole pool. Other workers can be at
work beside it (`beside.py`).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tasks.engine.beside import Beside, Hands, Side
from tasks.engine.cluster import RayGone, Watch, shutdown, start_ray
from tasks.engine.contract import GIB, ONE_CPU, Resources

__all__ = ["TIMEOUT", "WORKER_DIED", "GivenUp", "RayGone", "run_inline", "run_pool", "shutdown"]

Handler = Callable[[Any], Any]
MakeHandler = Callable[[], AbstractContextManager[Handler]]

TIMEOUT, WORKER_DIED = "timeout", "worker_died"
STRAGGLER_S = 30.0  # a job that others wait for is named after so long, and as often
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GivenUp:
    """A job that outlasted its worker every time it was tried (`TIMEOUT`), or whose workers died (`WORKER_DIED`).

    Who killed a worker, the job or the machine, cannot be told from here.
    """

    reason: str
    message: str


class _Actor:
    """Runs in a worker process: enters the handler at its first job, then handles job after job.

    Not on construction: an error there would look like a crash and be tried again for every job.
    """

    def __init__(self, make_handler: MakeHandler) -> None:
        self._context = make_handler()
        self._handler: Handler | None = None

    def begun(self) -> None:
        """Answered as soon as the process is there."""

    def handle(self, job: Any) -> Any:
        if self._handler is None:
            self._handler = self._context.__enter__()
        return self._handler(job)

    def close(self) -> None:
        if self._handler is not None:
            self._context.__exit__(None, None, None)


@dataclass
class _Flight:
    slot: int
    job: int
    deadline: float
    begun: float


@dataclass(frozen=True)
class _Limits:
    """As `run_pool` documents them."""

    timeout_s: float
    attempts: int
    recycle_after: int = 300
    first_job_extra_s: float = 120.0


class Crew:
    """The workers of one `run_pool`, or of what goes on beside it, and which job each is on."""

    def __init__(
        self,
        new_actor: Callable[[], Any],
        jobs: Sequence[Any],
        workers: int,
        limits: _Limits,
        names: Sequence[str] = (),
    ) -> None:
        self.new_actor, self.jobs, self.limits, self.names = new_actor, list(jobs), limits, names
        self.said = time.monotonic()  # when the jobs that are waited for were last named
        self.waiting = deque(range(len(jobs)))
        self.tried = [0] * len(jobs)
        self.watch = Watch()
        self.slots = [new_actor() for _ in range(workers)]
        self.begun = [actor.begun.remote() for actor in self.slots]
        self.handled = [0] * len(self.slots)  # jobs that a slot's worker has done: its first takes longer
        self.flights: dict[Any, _Flight] = {}

    def idle(self) -> int:
        """How many workers no job is waiting for."""
        return len(self.slots) - len(self.flights) - len(self.waiting)

    def add(self, job: Any) -> None:
        """One more job."""
        self.waiting.append(len(self.jobs))
        self.jobs.append(job)
        self.tried.append(0)

    def ended(self, *others: Any) -> list[Any]:
        """References to the jobs that have ended, of `others` too, as soon as there is one, or after half a second."""
        import ray

        return list(ray.wait([*self.flights, *others], num_returns=1, timeout=0.5)[0])

    def give_out(self) -> None:
        """A waiting job for each idle worker; one that has done many is replaced first."""
        busy = {flight.slot for flight in self.flights.values()}
        for slot in range(len(self.slots)):
            if slot in busy or not self.waiting:
                continue
            if self.handled[slot] >= self.limits.recycle_after:
                self.slots[slot].close.remote()
                self._renew(slot)
            job = self.waiting.popleft()
            self.tried[job] += 1
            limit = self.limits.timeout_s + (0.0 if self.handled[slot] else self.limits.first_job_extra_s)
            reference = self.slots[slot].handle.remote(self.jobs[job])
            now = self.said = time.monotonic()
            self.flights[reference] = _Flight(slot, job, now + limit, now)

    def take_in(self, reference: Any) -> Iterator[tuple[int, Any | GivenUp]]:
        """The result of a job that ended; an exception of the handler is raised here, and RayGone."""
        import ray

        flight = self.flights.pop(reference)
        try:
            result = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except ray.exceptions.RayActorError:
            yield from self._failed(flight, WORKER_DIED, "the worker process died on it")
            return
        self.handled[flight.slot] += 1
        yield flight.job, result

    def stop_late_ones(self) -> Iterator[tuple[int, GivenUp]]:
        """Kill workers whose job took too long. Raises RayGone where one was not even started in that time."""
        import ray

        self.watch.check()
        for reference, flight in list(self.flights.items()):
            if time.monotonic() > flight.deadline:
                if not ray.wait([self.begun[flight.slot]], timeout=0)[0]:
                    limit = self.limits.timeout_s + self.limits.first_job_extra_s
                    raise RayGone(
                        f"Ray has not started a worker for {limit:.0f} s: is its cluster full, or a machine lost? What "
                        "is finished is kept; run the same command again when there is room, or with --workers 0"
                    )
                del self.flights[reference]
                ray.kill(self.slots[flight.slot])
                yield from self._failed(flight, TIMEOUT, f"it took longer than {self.limits.timeout_s:.0f} s")

    def name_stragglers(self) -> None:
        """Say which jobs all others wait for, every now and then."""
        now, idle = time.monotonic(), len(self.slots) - len(self.flights)
        if not self.names or self.waiting or not idle or now - self.said < STRAGGLER_S:
            return
        self.said = now
        told = ", ".join(f"{self.names[one.job]} ({now - one.begun:.0f} s)" for one in self.flights.values())
        logger.info("%d of %d workers have nothing left to do; still at %s", idle, len(self.slots), told)

    def drop_beginners(self) -> None:
        """Wait no longer for workers that are at their first job: most of that is imports and models."""
        for reference, flight in list(self.flights.items()):
            if not self.handled[flight.slot]:
                del self.flights[reference]

    def dismiss(self) -> None:
        """End all workers, whatever they are at."""
        import ray

        if ray.is_initialized():
            for actor in self.slots:
                ray.kill(actor)

    def _renew(self, slot: int) -> None:
        self.slots[slot], self.handled[slot] = self.new_actor(), 0
        self.begun[slot] = self.slots[slot].begun.remote()

    def _failed(self, flight: _Flight, reason: str, message: str) -> Iterator[tuple[int, GivenUp]]:
        """Another worker in the slot, and another try for the job, or its end."""
        self.watch.check(now=True)  # without a head, asking for a worker blocks
        self._renew(flight.slot)
        tried, attempts = self.tried[flight.job], self.limits.attempts
        if tried < attempts:
            logger.warning("%s (%s); trying again, attempt %d of %d", message, reason, tried + 1, attempts)
            self.waiting.append(flight.job)
            return
        yield flight.job, GivenUp(reason, f"{message}, {attempts} times of {attempts}; look at this file by itself")


def _fitting(workers: int, share: Resources, there: Mapping[str, float]) -> int:
    """How many workers with this share the machines hold, at most `workers`; ValueError when not even one."""
    wanted = {"CPU": share.cpus, "GPU": share.gpus, "memory": share.memory_gib * GIB}
    room = {name: int(there.get(name, 0.0) / amount) for name, amount in wanted.items() if amount > 0}
    tight = min(room, key=lambda name: room[name])
    if room[tight] == 0:
        has, needs = there.get(tight, 0.0), wanted[tight]
        unit = (1 / GIB, " GiB of free memory") if tight == "memory" else (1.0, f" {tight}s")
        raise ValueError(
            f"a worker needs {needs * unit[0]:.3g}{unit[1]}, and Ray has {has * unit[0]:.3g}; free some, give Ray more "
            "machines (RAY_ADDRESS), or work in this process with --workers 0"
        )
    if room[tight] < workers:
        logger.info("%d workers instead of %d: there is no more %s", room[tight], workers, tight)
    return min(workers, room[tight])


def run_inline(make_handler: MakeHandler, jobs: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """The same in this process, one by one: for debugging, whole stages and stores that only this process sees."""
    with make_handler() as handler:
        for index, job in enumerate(jobs):
            yield index, handler(job)


def run_pool(
    make_handler: MakeHandler,
    jobs: Sequence[Any],
    *,
    workers: int,
    timeout_s: float,
    attempts: int,
    share: Resources = ONE_CPU,
    recycle_after: int = 300,
    first_job_extra_s: float = 120.0,
    names: Sequence[str] = (),
    beside: Beside | None = None,
) -> Iterator[tuple[int, Any | GivenUp]]:
    """Yield (job index, result) as jobs finish, in any order; an exception of the handler is raised here, and RayGone.

    `workers` at most, and no more than the machine holds of `share`, what one of them takes; each sees its GPU alone.
    `timeout_s` is a job's limit; a worker's first job gets `first_job_extra_s` more, for the process and its imports.
    After `recycle_after` jobs a worker is replaced (decoders leak). `names` of the jobs: those that all others wait for
    are then named. `beside`: what other workers do meanwhile, in the room that is left.
    """
    start_ray()
    import ray

    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    limits = _Limits(timeout_s, attempts, recycle_after, first_job_extra_s)
    crew = _crew(Hands(make_handler, min(workers, len(jobs)), share, timeout_s), there, limits, jobs, names)
    left = _left(there, len(crew.slots), share)
    side = Side(beside, lambda wanted: _crew(wanted, left, _Limits(wanted.timeout_s, attempts=1)))
    try:
        while crew.waiting or crew.flights:
            crew.give_out()
            side.turn()
            ended = crew.ended(*side.flights())
            for reference in [reference for reference in ended if reference in crew.flights]:
                yield from crew.take_in(reference)
            side.take_in(ended)
            crew.name_stragglers()
            yield from crew.stop_late_ones()
        side.finish()
    except RayGone:
        shutdown()
        raise
    finally:
        side.end()
        crew.dismiss()


def _crew(
    wanted: Hands,
    there: Mapping[str, float],
    limits: _Limits,
    jobs: Sequence[Any] = (),
    names: Sequence[str] = (),
) -> Crew:
    """As many of the wanted workers as there is room for."""
    import ray

    share = wanted.share
    workers = _fitting(wanted.workers, share, there)
    # Ray also gives each worker as many BLAS and OpenMP threads as it has CPUs, and hides the other workers' GPUs.
    remote = ray.remote(
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        memory=int(share.memory_gib * GIB),
        max_restarts=0,
        max_task_retries=0,
    )(_Actor)
    return Crew(lambda: remote.remote(wanted.make_handler), jobs, workers, limits, names)


def _left(there: Mapping[str, float], workers: int, share: Resources) -> dict[str, float]:
    """What so many workers leave of the machines."""
    taken = {"CPU": share.cpus, "GPU": share.gpus, "memory": share.memory_gib * GIB}
    return {name: amount - workers * taken.get(name, 0.0) for name, amount in there.items()}
