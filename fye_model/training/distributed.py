"""The processes that train together: who this one is, and the few words they exchange outside the gradients."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from fye_model.devices import choose_device

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """This process among those that train together. Alone, nothing is exchanged."""

    rank: int
    size: int
    device: torch.device
    talk: dist.ProcessGroup | None  # on the CPU: a word between steps does not wait for the GPU

    @property
    def first(self) -> bool:
        return self.rank == 0

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether any process has it up."""
        if self.size == 1:
            return list(flags)
        words = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(words, op=dist.ReduceOp.MAX, group=self.talk)
        return [bool(word) for word in words]

    def sum(self, values: list[float]) -> list[float]:
        """Sums over all processes."""
        if self.size == 1:
            return values
        numbers = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(numbers, group=self.talk)
        return [float(number) for number in numbers]

    def gather(self, value: Value) -> list[Value]:
        """What every process gives, in the order of their ranks."""
        if self.size == 1:
            return [value]
        found: list[Value | None] = [None] * self.size
        dist.all_gather_object(found, value, group=self.talk)
        return [each for each in found if each is not None]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier(group=self.talk)


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """This process's place, from torchrun's environment when it was started by it.

    `device` is auto, cpu, cuda or cuda:N; auto takes the GPU where there is one. Under torchrun each process takes the
    card of its rank. ValueError for cuda without a GPU.
    """
    chosen = choose_device(device).torch
    is_cuda, ranked = chosen.type == "cuda", "LOCAL_RANK" in os.environ
    place = chosen
    if is_cuda:
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]) if ranked else chosen.index or 0)
        torch.cuda.set_device(place)
    if not ranked:
        yield World(0, 1, place, None)
        return
    dist.init_process_group("nccl" if is_cuda else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), place, dist.new_group(backend="gloo"))
    finally:
        dist.destroy_process_group()
