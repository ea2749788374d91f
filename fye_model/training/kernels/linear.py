"""A linear layer whose bias gets its gradient from a kernel made for it, and a gated one that sums it on the way.

PyTorch's sum over all rows of a gradient runs at a fraction of the card's memory rate. Every linear layer and
convolution needs one for its bias.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fye_model.training.kernels.support import usable

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of PyTorch
    triton = None

_TILE = 32  # rows
_CHANNELS = 64
_LEAST_ROWS = 128  # of a program
_MOST_PARTS = 256  # that the rows are divided into


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., c) times weight (d, c) transposed, plus bias (d,)."""
    if bias is None or not bias.requires_grad or not usable(x):
        return F.linear(x, weight, bias)
    out: Tensor = _Linear.apply(x, weight, bias)
    return out


def column_sums(rows: Tensor) -> Tensor:
    """Sums over all but the last dimension: (..., c) -> (c,), in single precision inside."""
    if not usable(rows):
        return rows.flatten(0, -2).sum(0)
    rows = rows.contiguous().flatten(0, -2)
    count, width = rows.shape
    parts = _parts(count)
    sums = torch.empty(parts, width, device=rows.device, dtype=torch.float32)
    _sum_rows[(parts, -(-width // _CHANNELS))](
        rows, sums, count, parts, _steps(count, parts), width, _TILE, _CHANNELS, num_warps=4
    )
    return sums.sum(0).to(rows.dtype)


def gated_reference(both: Tensor, bias: Tensor) -> Tensor:
    """Of both + bias: the first half of the channels times GELU of the second: (..., 2c), (2c,) -> (..., c)."""
    value, gate = (both + bias).chunk(2, -1)
    return value * F.gelu(gate)


def gated(both: Tensor, bias: Tensor) -> Tensor:
    """As `gated_reference`."""
    if not usable(both):
        return gated_reference(both, bias)
    out: Tensor = _Gated.apply(both, bias)
    return out


def _parts(count: int) -> int:
    return max(1, min(_MOST_PARTS, count // _LEAST_ROWS))


def _steps(count: int, parts: int) -> int:
    return -(-count // (parts * _TILE))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        rows = grad.flatten(0, -2)
        to_input = (rows @ weight).view(x.shape) if ctx.needs_input_grad[0] else None
        to_weight = rows.t() @ x.flatten(0, -2) if ctx.needs_input_grad[1] else None
        return to_input, to_weight, column_sums(rows)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor, bias: Tensor) -> Tensor:
        both = both.contiguous()
        width = both.shape[-1] // 2
        out = both.new_empty(*both.shape[:-1], width)
        count = out.numel() // width
        grid = (-(-count // _TILE), -(-width // _CHANNELS))
        _gate[grid](both, bias, out, count, width, _TILE, _CHANNELS, num_warps=4)
        ctx.save_for_backward(both, bias)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:  # type: ignore[override]
        both, bias = ctx.saved_tensors
        grad, out = grad.contiguous(), torch.empty_like(both)
        width = both.shape[-1] // 2
        count = grad.numel() // width
        parts = _parts(count)
        sums = torch.empty(parts, 2 * width, device=grad.device, dtype=torch.float32)
        _gate_backward[(parts, -(-width // _CHANNELS))](
            both, bias, grad, out, sums, count, parts, _steps(count, parts), width, _TILE, _CHANNELS, num_warps=4
        )
        return out, sums.sum(0).to(bias.dtype) if ctx.needs_input_grad[1] else None


if triton is not None:

    @triton.jit
    def _sum_rows(
        rows, sums, count, parts, STEPS: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr
    ):
        """Some rows of some channels."""
        part = tl.program_id(0)
        channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = channel < WIDTH
        total = tl.zeros([TILE, BLOCK], tl.float32)
        for step in range(0, STEPS):
            row = ((step * parts + part) * TILE + tl.arange(0, TILE)).to(tl.int64)
            mask = (row[:, None] < count) & inside[None, :]
            total += tl.load(rows + row[:, None] * WIDTH + channel[None, :], mask=mask, other=0.0).to(tl.float32)
        tl.store(sums + part * WIDTH + channel, tl.sum(total, axis=0), mask=inside)

    @triton.jit
    def _gate(both, bias, out, count, WIDTH: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr):
        """Some rows of some channels."""
        row = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
        channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = channel < WIDTH
        mask = (row[:, None] < count) & inside[None, :]
        source = both + row[:, None] * (2 * WIDTH) + channel[None, :]
        value = tl.load(source, mask=mask, other=0.0).to(tl.float32)
        gate = tl.load(source + WIDTH, mask=mask, other=0.0).to(tl.float32)
        value += tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
        gate += tl.load(bias + WIDTH + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
        value *= 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
        tl.store(out + row[:, None] * WIDTH + channel[None, :], value.to(out.dtype.element_ty), mask=mask)

    @triton.jit
    def _gate_backward(
        both,
        bias,
        grad,
        out,
        sums,
        count,
        parts,
        STEPS: tl.constexpr,
        WIDTH: tl.constexpr,
        TILE: tl.constexpr,
        BLOCK: tl.constexpr,
    ):
        """Some rows of some channels, and the sums over these rows."""
        part = tl.program_id(0)
        channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = channel < WIDTH
        bias_of_value = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
        bias_of_gate = tl.load(bias + WIDTH + channel, mask=inside, other=0.0).to(tl.float32)
        of_value = tl.zeros([TILE, BLOCK], tl.float32)
        of_gate = tl.zeros([TILE, BLOCK], tl.float32)
        for step in range(0, STEPS):
            row = ((step * parts + part) * TILE + tl.arange(0, TILE)).to(tl.int64)
            mask = (row[:, None] < count) & inside[None, :]
            place = row[:, None] * (2 * WIDTH) + channel[None, :]
            value = tl.load(both + place, mask=mask, other=0.0).to(tl.float32) + bias_of_value[None, :]
            gate = tl.load(both + place + WIDTH, mask=mask, other=0.0).to(tl.float32) + bias_of_gate[None, :]
            d = tl.load(grad + row[:, None] * WIDTH + channel[None, :], mask=mask, other=0.0).to(tl.float32)
            share = 0.5 * (1.0 + tl.erf(gate * 0.7071067811865476))
            slope = share + gate * 0.3989422804014327 * tl.exp(-0.5 * gate * gate)
            d_value, d_gate = d * gate * share, d * value * slope
            of_value += d_value
            of_gate += d_gate
            tl.store(out + place, d_value.to(out.dtype.element_ty), mask=mask)
            tl.store(out + place + WIDTH, d_gate.to(out.dtype.element_ty), mask=mask)
        target = sums + part * (2 * WIDTH) + channel
        tl.store(target, tl.sum(of_value, axis=0), mask=inside)
        tl.store(target + WIDTH, tl.sum(of_gate, axis=0), mask=inside)
