"""Whether a kernel may be used: what it needs of a GPU, and a trial against plain PyTorch before its first use.

A kernel that does not compile with another version of its compiler, or computes something else there, costs speed and
nothing more: it is left out, and the reason is logged and reported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger(__name__)

HALF = (torch.float16, torch.bfloat16)
LIMIT = 0.02  # relative error; bfloat16 is good for 0.005


def missing(device: torch.device, dtype: torch.dtype, compiler: object, name: str = "Triton") -> str | None:
    """Why no kernel of ours runs there, or None: they need a GPU, half precision and a `compiler`, None if absent."""
    if device.type != "cuda":
        return f"on {device.type}, needs a CUDA GPU"
    if compiler is None:
        return f"this PyTorch comes without {name}"
    if dtype not in HALF:
        return f"{str(dtype).removeprefix('torch.')}, needs float16 or bfloat16"
    return None


def not_hopper(device: torch.device) -> str | None:
    """The reason why a kernel written for Hopper GPUs does not run on this one, or None."""
    major, minor = torch.cuda.get_device_capability(device)
    return None if (major, minor) == (9, 0) else f"sm_{major}{minor}, needs sm_90"


def tried(name: str, kernel: Callable[[], Tensor], reference: Callable[[], Tensor]) -> str | None:
    """Run a kernel beside its reference; the reason, also logged as a warning, why it is not to be used, or None."""
    try:
        expected = reference().double()
        error = float((kernel().double() - expected).norm() / expected.norm())
    except Exception as failure:  # whatever another version of a compiler may raise
        reason = f"its kernel failed: {failure}"
    else:
        if error < LIMIT:
            return None
        reason = f"its kernel is off by {error:.1e}"
    log.warning("%s is left to PyTorch: %s", name, reason)
    return reason


def draw(device: torch.device, dtype: torch.dtype) -> Callable[..., Tensor]:
    """A function that makes random tensors of a given shape, the same ones every time, apart from all other drawing."""
    generator = torch.Generator(device).manual_seed(0)
    return lambda *shape: torch.randn(*shape, device=device, dtype=dtype, generator=generator)
