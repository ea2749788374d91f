"""Workers beside a pool's own, for jobs that come up only while it goes on; nothing that befalls them is its error.

The pool drives them between its own jobs, in its one thread. What they do is a `Beside`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tasks.engine.contract import Resources

if TYPE_CHECKING:
    from tasks.engine.pool import Crew


@dataclass(frozen=True)
class Hands:
    """Workers that are wanted: what they handle jobs by, how many at most, what one takes, and a job's limit."""

    make_handler: Callable[[], AbstractContextManager[Callable[[Any], Any]]]
    workers: int
    share: Resources
    timeout_s: float


class Beside(Protocol):
    """Work for other workers while a pool goes on, which asks for it between its own jobs. An error ends it."""

    def hands(self) -> Hands | None:
        """The workers for it; None: not yet, ask again."""
        ...

    def next_job(self) -> Any | None:
        """A job, for which a worker is idle; None: there is none just now."""
        ...

    def settle(self, job: Any, result: Any) -> None:
        """What became of a job: what the handler returned, or `GivenUp` after its one try."""
        ...

    def end(self, error: Exception | None) -> None:
        """Its workers are gone, because the pool has ended or because of this error. Must not raise."""
        ...


class Side:
    """Drives the workers of a `Beside`. An error ends them, and is told to it; nothing is raised.

    gather: makes the workers, where the pool's own leave room for them.
    """

    def __init__(self, work: Beside | None, gather: Callable[[Hands], Crew]) -> None:
        self.work, self.gather = work, gather
        self.crew: Crew | None = None

    def flights(self) -> list[Any]:
        """References to the jobs in work."""
        return [] if self.crew is None else list(self.crew.flights)

    def turn(self) -> None:
        """Jobs for those who are idle."""
        with self._apart():
            if self.work is not None and self.crew is None and (wanted := self.work.hands()) is not None:
                self.crew = self.gather(wanted)
            if self.work is None or self.crew is None:
                return
            while self.crew.idle() and (job := self.work.next_job()) is not None:
                self.crew.add(job)
            self.crew.give_out()
            self._tell(self.crew.stop_late_ones())

    def take_in(self, references: Iterable[Any]) -> None:
        """The results of jobs that ended."""
        for reference in references:
            with self._apart():
                if self.crew is not None and reference in self.crew.flights:
                    self._tell(self.crew.take_in(reference))

    def finish(self) -> None:
        """Give out nothing more; let those end what they are at who have shown that they end something."""
        with self._apart():
            if self.crew is not None:
                self.crew.drop_beginners()
        while self.flights():
            with self._apart():
                assert self.crew is not None
                ended = self.crew.ended()
                self._tell(self.crew.stop_late_ones())
                self.take_in(ended)
        self.end()

    def end(self, error: Exception | None = None) -> None:
        """Dismiss them, whatever they are at; done once."""
        crew, work, self.crew, self.work = self.crew, self.work, None, None
        if crew is not None:
            crew.dismiss()
        if work is not None:
            work.end(error)

    def _tell(self, results: Iterator[tuple[int, Any]]) -> None:
        for number, result in results:
            if self.work is not None and self.crew is not None:
                self.work.settle(self.crew.jobs[number], result)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.end(error)
