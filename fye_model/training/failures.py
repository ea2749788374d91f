"""The ways in which a training run ends that are nobody's typing error, with what to do about each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fye_model.training.job import TrainJob


class Diverged(RuntimeError):
    """The loss became NaN or infinite. The batch is saved, and the last checkpoint is from before it."""


class OutOfMemory(RuntimeError):
    """The step does not fit the device's memory."""


@contextmanager
def advising_on_memory(job: TrainJob, processes: int) -> Iterator[None]:
    """Where the block finds no memory on a GPU: raises `OutOfMemory` with the setting to change."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfMemory(memory_advice(job, processes)) from error


def memory_advice(job: TrainJob, processes: int) -> str:
    """Which setting to change, and to what, when a step does not fit: what costs least comes first."""
    config, where = job.train, f"train.stage{job.stage}"
    items = config.batch_size // (config.accumulate * processes)
    smaller = [
        n for n in range(config.accumulate + 1, config.batch_size + 1) if config.batch_size % (n * processes) == 0
    ]
    if config.precision == "fp32":
        advice = f"set {where}.precision to bf16"
    elif config.working_weights == "fp32":
        advice = f"set {where}.working_weights to bf16"
    elif smaller and items > 1:
        advice = f"set {where}.accumulate to {smaller[0]}, which computes the same in smaller parts"
    elif not config.gradient_checkpointing:
        advice = f"set {where}.gradient_checkpointing to true, which recomputes instead of keeping"
    elif not job.offload and not config.ema_decay:
        advice = "set runtime.offload to true, which keeps masters and moments in the computer's memory"
    elif job.stage == 2 and config.frames > 2:
        advice = f"set {where}.frames to {config.frames // 2}"
    else:
        advice = "take a GPU with more memory, or a smaller clips.size"
    return f"out of memory with {items} item{'s' if items > 1 else ''} of {config.frames} frame(s) at a time: {advice}"
