"""How the networks of metrics run: on the CPU, one thread, without gradients, so that digits depend on nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fye_model.networks.weights import assign
from fye_model.processes import one_thread

Network = TypeVar("Network", bound=nn.Module)
# ImageNet's mean and standard deviation of red, green and blue on the scale 0 to 1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@contextmanager
def measuring() -> Iterator[None]:
    """Inference on one thread, so that every digit is the same however many there are."""
    with one_thread(), torch.inference_mode():
        yield


def as_batch(frames: np.ndarray) -> Tensor:
    """Pictures (f, h, w, 3) uint8 -> (f, 3, h, w) float32 from 0 to 1. Raises ValueError for anything else."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise ValueError(f"expected pictures (f, h, w, 3) uint8, got {frames.shape} {frames.dtype}")
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float() / 255


def channels(values: tuple[float, ...]) -> Tensor:
    """A number a channel, to be combined with a batch: (1, c, 1, 1)."""
    return torch.tensor(values).reshape(1, -1, 1, 1)


def filled(network: Network, state: Mapping[str, Tensor], where: str) -> Network:
    """The network with the weights of a file, ready to measure.

    Counters of batches, which older files lack and nothing reads, may be missing; every other name and shape must fit.
    """
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    assign(network, {**counters, **state}, where)
    return network.eval().requires_grad_(False)
