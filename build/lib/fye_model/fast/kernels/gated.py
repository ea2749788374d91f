"""GEGLU (linear layer, half of whose output gates the other half by GELU) without its wide intermediate.

The gated feed-forward of a transformer block makes eight times its input's channels and keeps half of them. On a
Hopper GPU the kernel here computes a tile of both halves side by side and writes their product; where it is
`unsupported` the same function is PyTorch's.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fye_model.fast.kernels.trial import draw, missing, not_hopper, tried

try:
    import triton
    import triton.language as tl
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # no GPU build of PyTorch, or one without tensor descriptors
    triton = None

_TOKENS, _COLUMNS, _DEPTH = 128, 128, 64  # a program's tile of the output, and how far it looks along the input at once
_STAGES, _WARPS, _GROUP = 4, 8, 8


def paired(parameter: Tensor) -> Tensor:
    """Rows of a weight or bias, all values before all gates, as value, gate, value, gate: what `geglu` takes."""
    return torch.stack(parameter.chunk(2), 1).flatten(0, 1)


def reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (..., c) and `paired` weight (2h, c) and bias (2h,) -> value · GELU(gate), (..., h), by PyTorch."""
    value, gate = F.linear(x, weight, bias).unflatten(-1, (-1, 2)).unbind(-1)
    return value * F.gelu(gate)


@cache
def unsupported(device: torch.device, dtype: torch.dtype, channels: int, hidden: int) -> str | None:
    """Why the kernel is not used for `channels` in and `hidden` out; None where it is. Tries it, the first time.

    It takes whole tiles, and is made for the shared memory of a Hopper GPU.
    """
    if reason := missing(device, dtype, triton) or not_hopper(device):
        return reason
    if channels % _DEPTH or hidden % _COLUMNS:
        return f"{channels} to {hidden} channels, needs multiples of {_DEPTH} and {_COLUMNS}"
    return _try(device, dtype, channels, hidden)


def geglu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`reference`, by the kernel where it can."""
    if unsupported(x.device, x.dtype, weight.shape[1], weight.shape[0] // 2):
        return reference(x, weight, bias)
    rows = x.flatten(0, -2).contiguous()
    out = rows.new_empty(len(rows), weight.shape[0] // 2)
    launch_gated(rows, weight, bias, out)
    return out.unflatten(0, x.shape[:-1])


def _try(device: torch.device, dtype: torch.dtype, channels: int, hidden: int) -> str | None:
    make = draw(device, dtype)
    rows, weight, bias = make(200, channels), make(2 * hidden, channels) * channels**-0.5, make(2 * hidden)
    out = torch.empty(200, hidden, device=device, dtype=dtype)

    def kernel() -> Tensor:
        launch_gated(rows, weight, bias, out)
        return out

    name = f"GEGLU from {channels} channels"
    return tried(name, kernel, lambda: reference(rows.float(), weight.float(), bias.float()))


def launch_gated(rows: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> None:
    """Run the kernel on contiguous rows (n, c) into `out` (n, h), whose rows may lie apart by multiples of 16 bytes."""
    count, channels = rows.shape
    hidden = weight.shape[0] // 2
    programs = torch.cuda.get_device_properties(rows.device).multi_processor_count
    _gated[(programs,)](
        TensorDescriptor(rows, [count, channels], [channels, 1], [_TOKENS, _DEPTH]),
        TensorDescriptor(weight, [2 * hidden, channels], [channels, 1], [2 * _COLUMNS, _DEPTH]),
        bias,
        TensorDescriptor(out, [count, hidden], [out.stride(0), 1], [_TOKENS, _COLUMNS]),
        count,
        channels,
        hidden,
        _TOKENS,
        _COLUMNS,
        _DEPTH,
        _GROUP,
        programs,
        num_warps=_WARPS,
        num_stages=_STAGES,
    )


if triton is not None:
    # Triton's own exp2 and division handle denormals, in several times the instructions.

    @triton.jit
    def _exp2(x):
        return tl.inline_asm_elementwise("ex2.approx.ftz.f32 $0, $1;", "=r,r", [x], tl.float32, is_pure=True, pack=1)

    @triton.jit
    def _reciprocal(x):
        return tl.inline_asm_elementwise("rcp.approx.ftz.f32 $0, $1;", "=r,r", [x], tl.float32, is_pure=True, pack=1)

    @triton.jit
    def _gated(
        rows, weight, bias, out, count, CHANNELS: tl.constexpr, HIDDEN: tl.constexpr, TOKENS: tl.constexpr,
        COLUMNS: tl.constexpr, DEPTH: tl.constexpr, GROUP: tl.constexpr, PROGRAMS: tl.constexpr,
    ):  # fmt: skip
        """Some tiles of the output, one after the other; neighbours in time share rows and weights in the cache.

        Flattened, the loops fetch the next tile's rows and weights while this one's gates are computed.
        """
        across: tl.constexpr = HIDDEN // COLUMNS
        down = tl.cdiv(count, TOKENS)
        for tile in tl.range(tl.program_id(0), down * across, PROGRAMS, flatten=True):
            first = tile // (GROUP * across) * GROUP
            group = min(down - first, GROUP)
            row = (first + tile % (GROUP * across) % group) * TOKENS
            column = tile % (GROUP * across) // group * COLUMNS
            both = tl.zeros((TOKENS, 2 * COLUMNS), tl.float32)
            for depth in range(0, CHANNELS, DEPTH):
                both = tl.dot(rows.load([row, depth]), weight.load([2 * column, depth]).T, both)
            both += tl.load(bias + 2 * column + tl.arange(0, 2 * COLUMNS))[None, :].to(tl.float32)
            value, gate = tl.split(tl.reshape(both, (TOKENS, COLUMNS, 2)))
            # The normal distribution function as 1 / (1 + 2^(-gate · odds)), odds fitted (GELU is off by 3e-6 at most):
            # through erfc, with divisions and exponentials as Triton writes them, the kernel takes 0.53 ms instead of
            # 0.45 for 131,072 tokens of 320 channels.
            square = gate * gate
            odds = -8.824318501865491e-05 + square * 3.229286676287302e-06
            odds = 0.10522665083408356 + square * (-0.00036024977453053 + square * odds)
            odds = 2.3020453453063965 + square * odds
            value = value * gate * _reciprocal(1.0 + _exp2(-gate * odds))
            out.store([row, column], value.to(bias.dtype.element_ty))
