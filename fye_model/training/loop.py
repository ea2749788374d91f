"""The training loop: `train(job)` runs one stage from its start, or from where it was interrupted, to its end.

A step is a pure function of the weights, the optimizer and (seed, step): the batch is (see `data.py`), and torch's
global generator is seeded anew for each step. So a run that is killed and resumed gives the weights of one that is not.
"""

from __future__ import annotations

import hashlib
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from fye_model.config import TrainStageConfig
from fye_model.training import checkpoint
from fye_model.training.data import StepBatches, TrainingSamples
from fye_model.training.distributed import World, join_world
from fye_model.training.index import read_index
from fye_model.training.job import TrainJob, digest_of
from fye_model.training.objective import Objective
from fye_model.training.progress import Progress
from fye_model.training.start import initial_networks, make_loader, make_samples, start
from fye_model.training.validation import validate

logger = logging.getLogger(__name__)


class Diverged(RuntimeError):
    """The loss became NaN or infinite. The batch is saved, and the last checkpoint is from before it."""


@dataclass(frozen=True)
class TrainResult:
    """Where a run stands: `finished`, or stopped on request at `step`; all its checkpoints, oldest first."""

    stage: int
    step: int
    finished: bool
    checkpoints: tuple[Path, ...]


def train(
    job: TrainJob,
    log: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Train one stage; resumes from `job.output` when there is a checkpoint of the same job.

    `log` takes the status lines; None prints them. SIGTERM (in the main thread), or `should_stop()` returning True,
    ends the run after the step at hand with a checkpoint. Under torchrun all processes share the batch. Raises
    ValueError for a bad job, data or checkpoint, `Diverged` for a loss that is not finite, OSError when a checkpoint
    cannot be written.
    """
    if job.threads:
        torch.set_num_threads(job.threads)
    with join_world(job.device) as world, _stop_on_sigterm() as terminated:
        say = (log or partial(print, flush=True)) if world.first else _silent
        index = read_index(job.index)
        samples, held_out = make_samples(job, index, say)
        networks, identity = initial_networks(job, index, samples)
        done = checkpoint.find_resumable(job.output, identity)
        trained, done_step = start(job, networks, done, world.device)
        if done is not None:
            say(f"going on from {done[1]}")
        job.output.mkdir(parents=True, exist_ok=True)
        say(f"stage {job.stage} on {world.device} x {world.size}, {job.train.precision}; {samples.describe()}")
        run = _Run(job, world, samples, held_out, trained, identity, say)
        step = run.go(done_step + 1, lambda: terminated() or (should_stop is not None and should_stop()))
    found = tuple(path for _, path in checkpoint.list_checkpoints(job.output))
    return TrainResult(job.stage, step, step >= job.train.steps, found)


class _Run:
    """The steps of one call of `train`."""

    def __init__(
        self,
        job: TrainJob,
        world: World,
        samples: TrainingSamples,
        held_out: TrainingSamples,
        trained: checkpoint.Trained,
        identity: dict[str, Any],
        log: Callable[[str], None],
    ) -> None:
        self.job, self.world, self.samples, self.held_out = job, world, samples, held_out
        self.trained, self.identity, self.log = trained, identity, log
        self.objective = Objective(trained.networks, job).to(world.device)
        self.model: torch.nn.Module = self.objective
        if world.size > 1:
            # a batch all of whose items lost their image condition leaves the appearance net without a gradient
            self.model = DistributedDataParallel(self.objective, find_unused_parameters=job.train.condition_dropout > 0)

    def go(self, first_step: int, should_stop: Callable[[], bool]) -> int:
        """Take the steps from `first_step` on; returns the last one taken."""
        job, world, config = self.job, self.world, self.job.train
        if first_step > config.steps:
            return first_step - 1
        batches = StepBatches(first_step, config.steps, config.batch_size, config.accumulate, world.rank, world.size)
        loader = iter(make_loader(self.samples, batches, job.loader_workers, world.device))
        progress = Progress(job.output, first_step, config.steps, job.log_every, self.log) if world.first else None
        try:
            for step in range(first_step, config.steps + 1):
                terms, norm, waited = self._step(step, loader)
                (stop,) = world.any(should_stop())
                if progress is not None:
                    progress.step(step, terms, learning_rate(config, step), norm, config.batch_size, waited)
                save = stop or step % config.checkpoint_every == 0 or step == config.steps
                found = self._validate(step, progress) if save or step % config.validate_every == 0 else None
                if save:
                    self._save(step, found, progress)
                if stop:
                    self.log(f"stopped on request after step {step}; the same command goes on from there")
                    return step
        finally:
            if progress is not None:
                progress.close()
        return config.steps

    def _step(self, step: int, loader: Iterator[dict[str, Tensor]]) -> tuple[dict[str, float], float, float]:
        """One optimizer step: loss terms averaged over all processes, gradient norm, seconds waited for data."""
        world, config, trained = self.world, self.job.train, self.trained
        torch.manual_seed(_step_seed(config.seed, step, world.rank))
        for group in trained.optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        trained.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        waited = 0.0
        for micro in range(config.accumulate):
            begun = time.monotonic()
            batch = next(loader)
            waited += time.monotonic() - begun
            on_device = {name: value.to(world.device, non_blocking=True) for name, value in batch.items()}
            last = micro == config.accumulate - 1
            alone = isinstance(self.model, DistributedDataParallel) and not last
            with self.model.no_sync() if alone else nullcontext():  # type: ignore[operator]
                terms = self.model(on_device)
                (terms.total / config.accumulate).backward()
            for name, value in terms.detached().items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
            self._check_finite(step, float(terms.total.detach()), batch)
        parameters = list(trained.parameters.values())
        for parameter in parameters:
            if parameter.grad is None:  # of a network that no item of the batch went through
                parameter.grad = torch.zeros_like(parameter)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.grad_clip))
        self._check_finite(step, norm, batch)
        trained.optimizer.step()
        if trained.ema is not None:
            trained.ema.step(parameters)
        share = config.accumulate * world.size
        totals = world.sum([float(value) for value in sums.values()])
        return {name: total / share for name, total in zip(sums, totals, strict=True)}, norm, waited

    def _check_finite(self, step: int, value: float, batch: dict[str, Tensor]) -> None:
        """Stop all processes when `value` of any of them is not finite; that one saves its batch."""
        (broken,) = self.world.any(not math.isfinite(value))
        if not broken:
            return
        path = self.job.output / f"diverged-step-{step:06d}-rank-{self.world.rank}.safetensors"
        names: list[str] = []
        if not math.isfinite(value):
            save_file({name: tensor.contiguous() for name, tensor in batch.items()}, path)
            names = self.samples.names(batch)
        raise Diverged(
            f"step {step}: the loss or its gradient is {value}. The batch is saved as {path} (clips "
            f"{', '.join(names) or 'of another process'}); the last checkpoint is from before it. Lower the learning "
            "rate, use precision fp32, or look at these clips"
        )

    def _validate(self, step: int, progress: Progress | None) -> dict[str, Any] | None:
        config = self.job.train
        if not self.held_out.windows:
            return None
        micro = max(1, config.batch_size // (config.accumulate * self.world.size))
        items = config.validation_batches * config.batch_size
        found = validate(self.objective, self.held_out, self.trained, self.world, items, micro)
        if progress is not None:
            progress.validation(step, found)
        return {"step": step, **found}

    def _save(self, step: int, found: dict[str, Any] | None, progress: Progress | None) -> None:
        if progress is not None:
            progress.flush()
            meta = {
                "stage": self.job.stage,
                "steps": self.job.train.steps,
                "samples": step * self.job.train.batch_size,
                "weights": "raw" if self.trained.ema is None else "average",
                "identity": self.identity,
                "digest": digest_of(self.identity),
                "torch": torch.__version__,
                "processes": self.world.size,
            }
            path = checkpoint.save_checkpoint(
                self.job.output, step, self.trained, meta, found, self.job.train.keep_last
            )
            self.log(f"step {step}/{self.job.train.steps} saved {path}")
        self.world.wait()


def learning_rate(config: TrainStageConfig, step: int) -> float:
    """Learning rate of a step (1-based): linear warm-up, then constant or half a cosine down to 0."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if config.decay == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps - 1) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()[:7], "big")


@contextmanager
def _stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether SIGTERM has come; signals reach only the main thread."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _silent(message: str) -> None:
    logger.debug("%s", message)
