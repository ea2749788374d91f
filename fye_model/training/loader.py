"""Worker processes that make batches: what they import, and so wait for, is this file and the samples.

They come from a fork server (`beginning.py`), not from this process with its threads and GPU. The server imports this
file once, while this process imports its own; a worker is then forked from it in milliseconds.
"""

from __future__ import annotations

import signal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fye_model.training.data import StepBatches, TrainingSamples

LOADER_TIMEOUT_S = 600  # a loader worker that is silent for so long hangs


def make_loader(
    samples: TrainingSamples, batches: StepBatches, workers: int, device: torch.device
) -> DataLoader[dict[str, Tensor]]:
    """Batches in the order of `batches`, whatever the number of worker processes."""
    return DataLoader(
        samples,
        batch_sampler=batches,  # type: ignore[arg-type]  # keys are (step, item)
        num_workers=workers,
        pin_memory=device.type == "cuda",
        timeout=LOADER_TIMEOUT_S if workers else 0,
        worker_init_fn=_start_worker if workers else None,
        multiprocessing_context="forkserver" if workers else None,
    )


def _start_worker(number: int) -> None:
    # a stop request may reach the whole process group; the loop decides when its loaders end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
