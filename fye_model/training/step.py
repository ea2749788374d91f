"""One optimizer step, in two ways: as PyTorch has it, and as a GPU does it fastest.

`PlainStep` runs the networks under autocast, or in single precision, with PyTorch's clip and AdamW: the way of the CPU,
of several processes under DistributedDataParallel, and what the other is measured against. `WorkingStep` runs a bf16
copy of the networks (`working.py`), forward and backward replayed as one CUDA graph. Neither waits for the device:
what a step found stays there until it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from fye_model.training.checkpoint import Trained
from fye_model.training.distributed import World
from fye_model.training.job import TrainJob
from fye_model.training.layers import ALL, Savings
from fye_model.training.objective import Objective
from fye_model.training.sharding import is_sharded, sum_gradients, whole
from fye_model.training.working import WorkingCopy, sum_over_processes

Batch = Mapping[str, Tensor]
_WARM_UP = 3  # passes before a graph is captured: libraries choose their kernels and memory in the first ones


@dataclass(frozen=True)
class StepResult:
    """Loss terms of this process's share of the batch and the gradient's norm before the clip: 0-d, on the device."""

    terms: dict[str, Tensor]
    norm: Tensor


class Step(Protocol):
    """Takes one optimizer step at a learning rate on the micro-batches of this process."""

    def __call__(self, batches: Iterator[Batch], lr: float) -> StepResult: ...


def make_step(job: TrainJob, trained: Trained, objective: Objective, world: World, savings: Savings = ALL) -> Step:
    """The step that the job's settings ask for. `objective` holds `trained.networks`."""
    if job.train.working_weights == "bf16":
        return WorkingStep(job, trained, world, savings)
    return PlainStep(job, trained, objective, world)


class PlainStep:
    """Autograd, clip, AdamW and average one after the other."""

    def __init__(self, job: TrainJob, trained: Trained, objective: Objective, world: World) -> None:
        self.config, self.trained, self.world = job.train, trained, world
        self.model: torch.nn.Module = objective
        self.sharded = is_sharded(objective)
        if world.size > 1 and not self.sharded:
            # a batch all of whose items lost their image condition leaves the appearance net without a gradient
            self.model = DistributedDataParallel(objective, find_unused_parameters=job.train.condition_dropout > 0)

    def __call__(self, batches: Iterator[Batch], lr: float) -> StepResult:
        """Leaves the weights alone where the gradient is not finite."""
        config, trained = self.config, self.trained
        for group in trained.optimizer.param_groups:
            group["lr"] = lr
        trained.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for micro in range(config.accumulate):
            batch = next(batches)
            on_device = {name: value.to(self.world.device, non_blocking=True) for name, value in batch.items()}
            last = micro == config.accumulate - 1
            if self.sharded:
                sum_gradients(self.model, last)
            alone = isinstance(self.model, DistributedDataParallel) and not last
            with self.model.no_sync() if alone else nullcontext():  # type: ignore[operator]
                terms = self.model(on_device)
                (terms.total / config.accumulate).backward()
            for name, value in terms.detached().items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
        parameters = list(trained.parameters.values())
        for parameter in parameters:
            if parameter.grad is None:  # of a network that no item of the batch went through
                parameter.grad = torch.zeros_like(parameter)
        norm = whole(torch.nn.utils.clip_grad_norm_(parameters, config.grad_clip))
        if self.world.device.type == "cpu" and not torch.isfinite(norm):
            return StepResult(_mean(sums, config.accumulate), norm)
        trained.optimizer.step()
        if trained.ema is not None:
            trained.ema.step(parameters)
        return StepResult(_mean(sums, config.accumulate), norm)


class WorkingStep:
    """Forward and backward of bf16 working weights, as a graph on a GPU; then one pass over weights and moments."""

    def __init__(self, job: TrainJob, trained: Trained, world: World, savings: Savings = ALL) -> None:
        self.config, self.world = job.train, world
        self.copy = WorkingCopy(trained, world.device, savings)
        self.objective = Objective(self.copy.networks, job).to(world.device).train()
        self.replay: Replay | None = None
        self.total: list[Tensor] = []  # gradients of several micro-batches: where they lie does not change
        self.graph = job.cuda_graph and world.device.type == "cuda"
        if world.device.type == "cuda":
            torch.backends.cudnn.benchmark = True

    def __call__(self, batches: Iterator[Batch], lr: float) -> StepResult:
        """See `Step`. The first call captures the graph."""
        accumulate = self.config.accumulate
        sums: dict[str, Tensor] = {}
        total = self.total
        for micro in range(accumulate):
            terms = self._forward_backward(next(batches))
            for name, value in terms.items():
                sums[name] = sums[name] + value if name in sums else value.clone()
            if accumulate == 1:
                total = self.copy.gradients()
            elif not total:
                total = self.total = [grad.float() for grad in self.copy.gradients()]
            elif micro == 0:
                torch._foreach_copy_(total, self.copy.gradients())
            else:
                torch._foreach_add_(total, self.copy.gradients())
        if self.world.size > 1:
            sum_over_processes(total)
        norm = self.copy.update(total, lr, self.config.grad_clip, accumulate * self.world.size)
        return StepResult(_mean(sums, accumulate), norm)

    def _forward_backward(self, batch: Batch) -> dict[str, Tensor]:
        if not self.graph:
            for parameter in self.copy.parameters:
                parameter.grad = None
            on_device = {name: value.to(self.world.device, non_blocking=True) for name, value in batch.items()}
            terms = self.objective(on_device)
            terms.total.backward()
            return dict(terms.detached())
        if self.replay is None:
            self.replay = Replay(self.objective, self.copy.parameters, batch, self.world.device)
        return self.replay(batch)


class Replay:
    """Forward and backward of an objective as one CUDA graph: thousands of kernels behind one launch.

    Gradients appear in the same tensors each time. What changes from step to step is in the batch, whose shapes stay.
    """

    def __init__(
        self, objective: Objective, parameters: list[torch.nn.Parameter], batch: Batch, device: torch.device
    ) -> None:
        self.inputs = {name: value.to(device, copy=True) for name, value in batch.items()}
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._clear(parameters)
                objective(self.inputs).total.backward()
        torch.cuda.current_stream(device).wait_stream(side)
        self._clear(parameters)
        torch.cuda.empty_cache()
        self.graph = torch.cuda.CUDAGraph()
        # other threads go on meanwhile: the loader's pins memory, the last checkpoint is written
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            terms = objective(self.inputs)
            terms.total.backward()
        self.terms = terms.detached()

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Loss terms of a batch, which the next call overwrites."""
        for name, value in self.inputs.items():
            given = batch[name]
            if given.shape != value.shape:
                raise ValueError(
                    f"{name} of the batch has shape {tuple(given.shape)}, the captured step {tuple(value.shape)}; "
                    "set cuda_graph of the runtime to false for batches of changing shape"
                )
            value.copy_(given, non_blocking=True)
        self.graph.replay()
        terms: dict[str, Tensor] = self.terms
        return terms

    @staticmethod
    def _clear(parameters: list[torch.nn.Parameter]) -> None:
        for parameter in parameters:
            parameter.grad = None


def _mean(sums: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    return {name: value / count for name, value in sums.items()}
