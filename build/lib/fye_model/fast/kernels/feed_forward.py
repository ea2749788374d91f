"""The end of a transformer: sum, norm, gated feed-forward, and one product for projection, biases and residual.

What the projection behind a feed-forward is given, the block's sum y and its gated part, lie beside each other in
memory, with a one behind them: then hidden + proj_out(y + ff(norm(y))) is hidden + [y ; gated ; 1] times one matrix,
added within the product. On a Hopper GPU a kernel here writes y, its norm and the one, `gated` writes between them; the
network's widest tensors are read and written once less each. Where the kernels are `unsupported` the same function is
PyTorch's.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fye_model.fast.kernels import gated
from fye_model.fast.kernels.trial import draw, tried

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of PyTorch
    triton = None

_PAD = 64  # columns behind the gated ones, the first of them one: rows begin at whole cache lines


def tail_weight(proj_out: Any, last: Any) -> Tensor:
    """[proj_out ; proj_out last ; their biases ; 0] as one matrix (c, c + h + 64).

    Between the feed-forward's `last` layer and the 1x1 convolution or linear layer behind the block there is nothing
    but a sum.
    """
    dtype = proj_out.weight.dtype
    wide = torch.promote_types(dtype, torch.float32)
    out, inner = proj_out.weight.flatten(1).to(wide), last.weight.to(wide)
    bias = out @ last.bias.to(wide) + proj_out.bias.to(wide)
    return torch.cat([out, out @ inner, F.pad(bias[:, None], (0, _PAD - 1))], 1).to(dtype)


def reference(
    hidden: Tensor, x: Tensor, added: Tensor, bias: Tensor | None, norm: nn.LayerNorm, gates: Any, weight: Tensor
) -> Tensor:
    """hidden + [y ; geglu(norm(y)) ; 1] weight^T with y = x + added + bias, by PyTorch; all but bias (c,) are (..., c).

    `gates` holds the `paired_weight` and `paired_bias` of the feed-forward, `weight` is `tail_weight`.
    """
    channels = x.shape[-1]
    y = x + added if bias is None else x + added + bias
    total = F.linear(y, weight[:, :channels], weight[:, -_PAD])
    gated_part = gated.reference(norm(y), gates.paired_weight, gates.paired_bias)
    return hidden + (total + F.linear(gated_part, weight[:, channels:-_PAD]))


@cache
def unsupported(device: torch.device, dtype: torch.dtype, channels: int, hidden: int) -> str | None:
    """Why `in_place` is not used for a feed-forward of these sizes; None where it is. Tries it, the first time."""
    return gated.unsupported(device, dtype, channels, hidden) or _try(device, dtype, channels, hidden)


def in_place(
    hidden: Tensor, x: Tensor, added: Tensor, bias: Tensor | None, norm: nn.LayerNorm, gates: Any, weight: Tensor
) -> Tensor:
    """`reference` by the kernels, where they are not `unsupported`: `hidden` is overwritten if it is contiguous."""
    channels = x.shape[-1]
    parts, normed = _beside(x, added, bias, norm, len(gates.paired_weight) // 2)
    gated.launch_gated(normed, gates.paired_weight, gates.paired_bias, parts[:, channels:-_PAD])
    total = hidden.contiguous()
    total.view(-1, channels).addmm_(parts, weight.t())
    return total


@dataclass(frozen=True)
class _Gates:
    paired_weight: Tensor
    paired_bias: Tensor


def _try(device: torch.device, dtype: torch.dtype, channels: int, hidden: int) -> str | None:
    make = draw(device, dtype)
    norm = nn.LayerNorm(channels, device=device, dtype=dtype).requires_grad_(False)
    norm.weight.copy_(make(channels))
    gates = _Gates(make(2 * hidden, channels) * channels**-0.5, make(2 * hidden))
    x, added, bias = make(100, channels), make(100, channels), make(channels)
    before, weight = make(100, channels), make(channels, channels + hidden + _PAD) * hidden**-0.5
    wide_norm = copy.deepcopy(norm).float()
    wide_gates = _Gates(gates.paired_weight.float(), gates.paired_bias.float())

    def expected() -> Tensor:
        wide = before.float(), x.float(), added.float(), bias.float()
        return reference(*wide, wide_norm, wide_gates, weight.float())

    name = f"the end of blocks of {channels} channels"
    return tried(name, lambda: in_place(before.clone(), x, added, bias, norm, gates, weight), expected)


def _beside(x: Tensor, added: Tensor, bias: Tensor | None, norm: nn.LayerNorm, inner: int) -> tuple[Tensor, Tensor]:
    """Rows [y ; room for the gated part ; 1 ; 0], and the norm of y, both two-dimensional."""
    channels = x.shape[-1]
    x, added = x.contiguous().view(-1, channels), added.contiguous().view(-1, channels)
    count = len(x)
    parts, normed = x.new_empty(count, channels + inner + _PAD), torch.empty_like(x)
    block = 1 << (channels - 1).bit_length()
    rows = max(1, 4096 // block)
    _sum_and_norm[(triton.cdiv(count, rows),)](
        x, added, added if bias is None else bias, norm.weight, norm.bias, parts, normed, count, norm.eps,
        bias is not None, channels, channels + inner, channels + inner + _PAD, rows, block, num_warps=4,
    )  # fmt: skip
    return parts, normed


if triton is not None:

    @triton.jit
    def _sum_and_norm(
        x, added, bias, weight, shift, parts, normed, count, eps, BIAS: tl.constexpr, CHANNELS: tl.constexpr,
        ONE: tl.constexpr, STRIDE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Sum, layer norm and the columns from ONE on, for some rows."""
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        lane = tl.arange(0, BLOCK)
        mask = (row[:, None] < count) & (lane[None, :] < CHANNELS)
        place = row[:, None] * CHANNELS + lane[None, :]
        total = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        total += tl.load(added + place, mask=mask, other=0.0).to(tl.float32)
        if BIAS:
            total += tl.load(bias + lane, mask=lane < CHANNELS, other=0.0).to(tl.float32)[None, :]
        mean = tl.sum(total, 1) / CHANNELS
        centred = tl.where(lane[None, :] < CHANNELS, total - mean[:, None], 0.0)
        scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / CHANNELS + eps)
        gain = tl.load(weight + lane, mask=lane < CHANNELS, other=0.0).to(tl.float32)
        offset = tl.load(shift + lane, mask=lane < CHANNELS, other=0.0).to(tl.float32)
        result = centred * scale[:, None] * gain[None, :] + offset[None, :]
        dtype = normed.dtype.element_ty
        tl.store(normed + place, result.to(dtype), mask=mask)
        tl.store(parts + row[:, None] * STRIDE + lane[None, :], total.to(dtype), mask=mask)
        pad = tl.arange(0, STRIDE - ONE)
        ones = tl.where(pad[None, :] == 0, 1.0, 0.0) + tl.zeros((ROWS, STRIDE - ONE), tl.float32)
        tl.store(parts + row[:, None] * STRIDE + ONE + pad[None, :], ones.to(dtype), mask=row[:, None] < count)
