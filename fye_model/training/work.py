"""How much a training step computes, and how much the card can: what MFU is made of."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fye_model.networks import Networks
from fye_model.networks.build import component_arguments
from fye_model.networks.bundle import COMPONENTS
from fye_model.training.job import TrainJob
from fye_model.training.objective import Objective

_SIDE = 8192  # of the matrices whose product is timed
_PRODUCTS = 10


class WorkCounter(TorchDispatchMode):
    """Counts floating-point operations of this thread alone, by PyTorch's own formulas, in `total`.

    `FlopCounterMode` hooks the modules of the whole process: a step that another thread takes meanwhile ends in it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, object] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        found = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=found)
        return found


def sample_work(job: TrainJob, size: int, factor: int, channels: int, token_shape: tuple[int, int]) -> float:
    """Floating-point operations of one sample's forward and backward pass, counted without computing anything.

    Within a few percent: attention is counted as two products, whichever kernel computes it.

    size: pixels of a side; factor: pixels per latent cell; token_shape: (n, d) of the image encoder's output.
    """
    plain = {"gradient_checkpointing": False, "precision": "fp32", "working_weights": "fp32"}  # the same work
    job = job.model_copy(update={"train": job.train.model_copy(update=plain)})
    side, frames = size // factor, job.train.frames
    arguments = component_arguments(job.networks, token_shape[1], channels)
    with torch.device("meta"):
        networks = Networks(**{name: kind(**arguments[name]) for name, kind in COMPONENTS.items()})
        networks.set_stage(job.stage)
        objective = Objective(networks, job).to("meta")
        batch = {
            "latents": torch.zeros(1, channels, frames, side, side),
            "noise": torch.zeros(1, channels, frames, side, side),
            "timestep": torch.zeros(1, dtype=torch.long),
            "landmarks": torch.zeros(1, 3, frames, size, size, dtype=torch.uint8),
            "expression_mask": torch.zeros(1, frames, side, side),
            "face_mask": torch.zeros(1, frames, side, side),
            "reference_latent": torch.zeros(1, channels, side, side),
            "image_tokens": torch.zeros(1, *token_shape),
            "covered": torch.zeros(1, frames, dtype=torch.bool),
            "unconditional": torch.zeros(1, dtype=torch.bool),
        }
        with WorkCounter() as counter:
            objective(batch).total.backward()
    return float(counter.total)


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a large bf16 product of random numbers on a GPU: the rate that MFU is a share of."""
    a, b = (torch.randn(_SIDE, _SIDE, device=device).bfloat16() for _ in range(2))
    for _ in range(2):
        a @ b
    torch.cuda.synchronize(device)
    begun = time.perf_counter()
    for _ in range(_PRODUCTS):
        a @ b
    torch.cuda.synchronize(device)
    return _PRODUCTS * 2 * _SIDE**3 / (time.perf_counter() - begun)
