"""Items of later stages made before their stage's turn: as soon as the outcomes are there that they are made of.

What is made ahead is made as the stage itself would make it, under the same key, with the same receipt. So the stage
finds it done at its turn, and whatever went wrong here, it meets and tells itself: work ahead fails no run, sets
nothing aside that the stage would not, and never waits for a GPU that others compute on.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from fye_model.config import Config, Recipe, Runtime
from fye_model.devices import Device, RunDevice
from tasks.engine.beside import Hands
from tasks.engine.cards import InUse
from tasks.engine.contract import Resources
from tasks.engine.items import Item, Outcome, Worker
from tasks.engine.limits import gpus_held
from tasks.engine.pool import GivenUp
from tasks.engine.receipts import NOT_KEPT, Receipts
from tasks.engine.stage import AnyStage, item_handler, worker_maker
from tasks.engine.store import Store
from tasks.faces.landmarker import LandmarkerAsset

Begun = tuple[AnyStage, Item[Any]]
_AGAIN_S = 10.0  # between looks whether the GPU is free by now
_TURN_S = 0.2  # of the pool's time, to find out what is done already
_MOST_FAILURES = 3  # in a row; then it is no item's fault
_TOLD_S = 60.0  # between lines on how far it is
logger = logging.getLogger(__name__)


class Plan(Protocol):
    """Which items can be made ahead. `stages`: theirs; `recipe`: what their settings are part of."""

    @property
    def stages(self) -> Sequence[AnyStage]: ...

    @property
    def recipe(self) -> Recipe: ...

    def first(self) -> Iterable[Begun]:
        """Items that wait for nothing."""
        ...

    def after(self, stage: AnyStage, outcome: Outcome[Any]) -> Iterable[Begun]:
        """Items that this outcome was the last to be waited for; `outcome` is one of an item that is done."""
        ...


@dataclass(frozen=True)
class _Job:
    stage: str
    item: Item[Any]
    key: str


class Ahead:
    """The work ahead beside one stage, which is given it as `ahead`.

    made: filled with stage -> the keys of the items that were made; what was set aside for good is made, too.
    """

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        device: RunDevice,
        asset: LandmarkerAsset | None,
        plan: Plan,
        made: dict[str, set[str]],
    ) -> None:
        self.store, self.runtime, self.device, self.asset, self.plan = store, runtime, device, asset, plan
        self.made = made
        self.stages = {stage.name: stage for stage in plan.stages}
        self.settings: dict[str, Config] = {stage.name: stage.settings(plan.recipe) for stage in plan.stages}
        self._keyers: dict[str, Callable[[Item[Any]], str]] = {}
        self._outcomes: deque[tuple[AnyStage, Outcome[Any]]] = deque()
        self._planned: deque[Begun] = deque()
        self._held = ExitStack()
        self._next_look, self._waiting, self._told = 0.0, False, time.monotonic()
        self._failures = 0

    @property
    def names(self) -> str:
        return " and ".join(self.stages)

    def settled(self, stage: AnyStage, outcome: Outcome[Any]) -> None:
        """An item has come to this outcome; what follows from it is thought about when a worker is idle."""
        if outcome.done:
            self._outcomes.append((stage, outcome))

    def hands(self) -> Hands | None:
        """A worker a card, beside the stage's own ones; None while others compute there."""
        if time.monotonic() < self._next_look:
            return None
        self._next_look = time.monotonic() + _AGAIN_S
        device = self.device.get()
        if not device.is_cuda and not self.runtime.ahead:
            raise NotHere("on the CPU it would take the cores of what it waits for")
        try:
            self._held.enter_context(
                gpus_held(device, None, f"{self.names} of {self.store.url}", self.runtime.share_gpu, wait=False)
            )
        except InUse as who:
            if not self._waiting:
                logger.info("%s can be made ahead when the GPU is free: %s", self.names, who)
            self._waiting = True
            return None
        known = self.stages.items()
        self._keyers = {name: one.keyer(self.store, self.settings[name], self.asset) for name, one in known}
        self._planned.extend(self.plan.first())
        logger.info(
            "making %s ahead on %s, of what is ready (runtime.ahead=false: each at its turn)", self.names, device
        )
        return Hands(
            partial(_handler, self.store.url, self._makers(device)),
            min(self.runtime.workers, max(device.cards, 1)),
            self._share(device),
            self.runtime.item_timeout_s,
        )

    def _makers(self, device: Device) -> dict[str, tuple[AnyStage, Callable[[], Worker[Any, Any]]]]:
        return {
            name: (stage, worker_maker(stage, self.settings[name], self.runtime, device, self.asset))
            for name, stage in self.stages.items()
        }

    def _share(self, device: Device) -> Resources:
        """No CPU: Ray would have none left to give, and a worker that feeds a GPU hardly takes one."""
        needs = [stage.resources for stage in self.stages.values()]
        gpus = max(need.gpus for need in needs) if device.is_cuda else 0.0
        return Resources(cpus=0, gpus=gpus, memory_gib=max(need.memory_gib for need in needs))

    def next_job(self) -> _Job | None:
        """The next item that is not made; those that are lead on to what they were waited for by."""
        until = time.monotonic() + _TURN_S
        while time.monotonic() < until:
            if self._planned:
                stage, item = self._planned.popleft()
                key = self._keyers[stage.name](item)
                found = Receipts(self.store, stage).find(item, key, tell=False)
                if found is None:
                    return _Job(stage.name, item, key)
                self.settled(stage, found)
            elif self._outcomes:
                self._planned.extend(self.plan.after(*self._outcomes.popleft()))
            else:
                break
        return None

    def settle(self, job: _Job, result: Outcome[Any] | GivenUp) -> None:
        """Note what became of an item. Raises RuntimeError where one after the other fails."""
        if isinstance(result, GivenUp) or result.reason in NOT_KEPT:
            self._failures += 1
            logger.info("%s of %s is left to its turn: %s", job.stage, job.item.name, result.message)
            if self._failures == _MOST_FAILURES:
                raise RuntimeError(f"{_MOST_FAILURES} failed, one after the other")
            return
        self._failures = 0
        self.made.setdefault(job.stage, set()).add(job.key)
        self.settled(self.stages[job.stage], result)
        if time.monotonic() - self._told > _TOLD_S:
            self._told = time.monotonic()
            logger.info("made ahead: %s", self._counts())

    def end(self, error: Exception | None) -> None:
        """Let go of the cards, and say what was made."""
        try:
            self._held.close()
        except Exception as trouble:  # a server that is gone
            logger.warning("letting go of the GPU of %s: %s", self.names, trouble)
        if isinstance(error, NotHere):
            return
        if error is not None:
            logger.warning("nothing more of %s is made ahead (%s: %s)", self.names, type(error).__name__, error)
        if self.made:
            logger.info("made ahead: %s", self._counts())

    def _counts(self) -> str:
        return ", ".join(f"{len(keys)} of {stage}" for stage, keys in self.made.items())


class NotHere(Exception):
    """On this machine nothing is made ahead, and that needs no telling."""


@contextmanager
def _handler(
    store_url: str, makers: dict[str, tuple[AnyStage, Callable[[], Worker[Any, Any]]]]
) -> Iterator[Callable[[_Job], Outcome[Any]]]:
    """In the worker's process: each stage's worker, opened at its first item."""
    with ExitStack() as stack:
        handlers: dict[str, Callable[[tuple[Item[Any], str]], Outcome[Any]]] = {}

        def handle(job: _Job) -> Outcome[Any]:
            if job.stage not in handlers:
                stage, make_worker = makers[job.stage]
                handlers[job.stage] = stack.enter_context(item_handler(stage, store_url, make_worker))
            return handlers[job.stage]((job.item, job.key))

        yield handle
