"""Whether Triton is here and can take a tensor: the one place that the kernels of this room ask."""

from __future__ import annotations

import os

import torch
from torch import Tensor

try:
    import triton
except ImportError:  # no GPU build of PyTorch
    triton = None

HALVES = (torch.bfloat16, torch.float16)


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on the CPU: for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def installed() -> bool:
    """Whether there is a Triton at all."""
    return triton is not None


def usable(*tensors: Tensor) -> bool:
    """Whether these kernels can take the tensors: half precision on a GPU, or anything under the interpreter."""
    if triton is None:
        return False
    return interpreted() or all(tensor.is_cuda and tensor.dtype in HALVES for tensor in tensors)


def power_of_two(number: int, least: int = 1) -> int:
    """The smallest power of two that is at least `number` and `least`."""
    return max(least, 1 << max(number - 1, 0).bit_length())
