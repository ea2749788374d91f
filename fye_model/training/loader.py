"""Worker processes that make batches: what they import, and so wait for, is this file and the samples.

They come from a fork server (`beginning.py`), not from this process with its threads and GPU. The server imports this
file once, while this process imports its own; a worker is then forked from it in milliseconds.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from fye_model.training.data import StepBatches, TrainingSamples

RESTARTS = 2  # of loaders of which a worker was killed
_LOOK_S = 5.0  # how often a loader that is waited for is looked at
_DEATH_S = 5.0  # until it is known that a worker is dead
_OVERDUE = "DataLoader timed out"  # how PyTorch says so
_NAMED = 8  # clips in a message
Item = dict[str, Tensor]
Key = tuple[int, int]
logger = logging.getLogger(__name__)


class LoaderFailed(RuntimeError):
    """Batches stopped coming: a loader worker hangs, or is killed again and again."""


@dataclass(frozen=True)
class _Refused:
    """Why there is no batch, in words: an exception loses its text on the way between processes."""

    why: str


class _Told(Dataset[Item | _Refused]):
    """Samples, or why there is none."""

    def __init__(self, samples: TrainingSamples) -> None:
        self.samples = samples

    def __getitem__(self, key: Key) -> Item | _Refused:
        try:
            return self.samples[key]
        except (ValueError, OSError) as error:
            return _Refused(f"step {key[0]}, {self.samples.place(key)}: {error}")


class Flag:
    """What processes tell each other once, as `multiprocessing.Event` does, in a byte of shared memory without a lock.

    An event is looked at under a lock: who is killed while it looks keeps it, and all others wait for ever.
    """

    def __init__(self, context: ForkServerContext) -> None:
        self._byte = context.RawValue("b", 0)

    def is_set(self) -> bool:
        return bool(self._byte.value)

    def set(self) -> None:
        self._byte.value = 1


class LoaderContext(ForkServerContext):
    """The fork server's processes, which tell each other by flags that they are done."""

    def Event(self) -> Flag:  # type: ignore[override]  # as multiprocessing calls it
        return Flag(self)


class Batches(Iterator[Item]):
    """Batches in the order of `keys`, whatever the number of worker processes.

    They begin to work when it is made, and end with `close`. As a batch is a function of its keys, nothing is lost with
    a worker that is killed: new ones go on at the batch that is missing, `RESTARTS` times. Raises `LoaderFailed` after
    that, or when no batch came for `timeout_s` although workers live; ValueError where the data cannot be read.
    """

    def __init__(
        self,
        samples: TrainingSamples,
        keys: StepBatches,
        workers: int,
        device: torch.device,
        timeout_s: float,
    ) -> None:
        self.samples, self.keys, self.workers, self.device = samples, keys, workers, device
        self.timeout_s = timeout_s
        self._taken = self._restarts = 0
        self._asked = time.monotonic()
        self._processes: list[BaseProcess] = []
        self._batches: Iterator[Item | _Refused] = iter(())
        if len(keys):
            self._start()

    def __next__(self) -> Item:
        self._asked = time.monotonic()
        while True:
            try:
                batch = next(self._batches)
            # PyTorch's own are RuntimeErrors; the others come where what a killed worker has sent cannot be fetched
            except (RuntimeError, EOFError, OSError) as error:
                self._see_to(error)
                continue
            if isinstance(batch, _Refused):
                raise ValueError(batch.why)
            self._taken += 1
            return batch

    def _start(self) -> None:
        before = set(multiprocessing.active_children())
        loader: DataLoader[Item | _Refused] = DataLoader(
            _Told(self.samples),
            batch_sampler=islice(self.keys, self._taken, None),  # type: ignore[arg-type]  # keys are (step, item)
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            timeout=min(_LOOK_S, self.timeout_s) if self.workers else 0,
            collate_fn=_collate,
            worker_init_fn=_start_worker if self.workers else None,
            multiprocessing_context=LoaderContext() if self.workers else None,
        )
        self._batches = iter(loader)
        self._processes = [process for process in multiprocessing.active_children() if process not in before]

    def _see_to(self, error: Exception) -> None:
        """Return where it is worth asking again; raise otherwise."""
        if not isinstance(error, RuntimeError):
            wait([process.sentinel for process in self._processes], _DEATH_S)  # it is dead before that is known
        ends = [process.exitcode for process in self._processes if process.exitcode is not None]
        if not ends and _OVERDUE not in str(error):
            raise error
        waited_s = time.monotonic() - self._asked
        if not ends and waited_s < self.timeout_s:
            return
        what = _how(ends[0]) if ends else f"gave no batch for {waited_s:.0f} s"
        where = f"step {self._missing()[0][0]}: a loader worker {what}; the batch is of {self._clips()}"
        if ends and self._restarts < RESTARTS:
            self._restarts += 1
            logger.warning("%s. Loaders are started again", where)
            self.close()
            self._start()
            self._asked = time.monotonic()
            return
        self.close()
        raise LoaderFailed(f"{where}. {self._advice(bool(ends))}") from error

    def _advice(self, killed: bool) -> str:
        rest = "What is finished is kept; the same command goes on at the last checkpoint"
        if killed:
            return (
                f"That happened {self._restarts + 1} times: too little memory is the usual reason (the "
                "system's log tells, see dmesg; for SIGBUS a full /dev/shm, or a file that was cut short). Set "
                f"runtime.loader_workers to {self.workers // 2}, or have more memory. {rest}"
            )
        return (
            f"Of {self.workers} workers all live: the file system of these clips stalls, or the machine is too slow. "
            "See whether the files can be read; set runtime.loader_timeout_s to more seconds where they only come "
            f"late, runtime.loader_workers to 0 to read in the training process itself. {rest}"
        )

    def _missing(self) -> list[Key]:
        """The keys of the batch that is waited for."""
        return next(islice(self.keys, self._taken, None))

    def _clips(self) -> str:
        places = [self.samples.place(key) for key in self._missing()]
        rest = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        return f"{', '.join(places[:_NAMED])}{rest}"

    def close(self) -> None:
        """End the workers. They listen to nothing less: one left alive would be waited for when this process ends."""
        for process in self._processes:
            process.kill()
        self._batches = iter(())


def _collate(items: list[Item | _Refused]) -> Item | _Refused:
    for item in items:
        if isinstance(item, _Refused):
            return item
    batch: Item = default_collate(items)
    return batch


def _how(code: int) -> str:
    known = {-one.value: one.name for one in signal.Signals}
    return f"was killed by signal {-code} ({known[code]})" if code in known else f"ended with exit code {code}"


def _start_worker(number: int) -> None:
    # a stop request may reach the whole process group; the loop decides when its loaders end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
