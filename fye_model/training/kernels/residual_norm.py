"""A residual sum and the LayerNorm behind it, as one pass forward and one back.

A transformer block adds a layer's output to its tokens and normalises them, three times. PyTorch passes over the tokens
four times for that, and eleven times on the way back: the norm's gradient, that of its weights, that of the bias of the
layer before it, and their sum. Here each row of channels is read once, and what is summed over all rows is summed on
the way.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fye_model.training.kernels.support import power_of_two, usable

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of PyTorch
    triton = None

_ELEMENTS = 2048  # that one program holds at a time: what 128 threads have registers for
_LEAST_ROWS = 16  # of a program: the sums that it writes must be few beside what it reads
_MOST_PROGRAMS = 528  # four for each of an H200's multiprocessors


def reference(tokens: Tensor, added: Tensor | None, bias: Tensor | None, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """tokens + added + bias and its LayerNorm: (..., c), (..., c), (c,) -> twice (..., c)."""
    if added is not None:
        tokens = tokens + (added if bias is None else added + bias)
    return tokens, F.layer_norm(tokens, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def residual_norm(
    tokens: Tensor, added: Tensor | None, bias: Tensor | None, norm: nn.LayerNorm
) -> tuple[Tensor, Tensor]:
    """As `reference`. Without `added` there is no bias either, and the first result is `tokens`."""
    if not usable(tokens):
        return reference(tokens, added, bias, norm)
    total, normed = _ResidualNorm.apply(tokens, added, bias, norm.weight, norm.bias, norm.eps)
    return total, normed


class _ResidualNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        added: Tensor | None,
        bias: Tensor | None,
        weight: Tensor,
        shift: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor]:
        rows = tokens.contiguous()
        plus = rows if added is None else added.contiguous()
        total = rows if added is None else torch.empty_like(rows)
        normed = torch.empty_like(rows)
        width = rows.shape[-1]
        count = rows.numel() // width
        stats = torch.empty(2, count, device=rows.device, dtype=torch.float32)
        block = power_of_two(width)
        tile = max(1, _ELEMENTS // block)
        _sum_and_norm[(-(-count // tile),)](
            rows, plus, plus if bias is None else bias, weight, shift, total, normed, stats, count, eps,
            added is not None, bias is not None, width, tile, block, num_warps=4,
        )  # fmt: skip
        ctx.save_for_backward(total, weight, stats)
        ctx.has_added, ctx.has_bias = added is not None, bias is not None
        return tokens if added is None else total, normed

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, grad_normed: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        total, weight, stats = ctx.saved_tensors
        grad_total, grad_normed = grad_total.contiguous(), grad_normed.contiguous()
        out = torch.empty_like(total)
        width = total.shape[-1]
        count = total.numel() // width
        block = power_of_two(width)
        tile = max(1, _ELEMENTS // block)
        needs_bias, needs_affine = ctx.has_bias and ctx.needs_input_grad[2], any(ctx.needs_input_grad[3:5])
        summing = needs_bias or needs_affine
        programs = -(-count // tile)
        if summing:
            programs = max(1, min(_MOST_PROGRAMS, programs, count // _LEAST_ROWS))
        sums = torch.empty(3, programs if summing else 1, width, device=total.device, dtype=torch.float32)
        _sum_and_norm_backward[(programs,)](
            total, weight, stats, grad_total, grad_normed, out, sums, count, sums[0].numel(), programs,
            -(-count // (programs * tile)), summing, width, tile, block, num_warps=4,
        )  # fmt: skip
        found = sums.sum(1).to(weight.dtype) if summing else (None, None, None)
        affine = found[:2] if needs_affine else (None, None)
        return out, out if ctx.has_added else None, found[2] if needs_bias else None, affine[0], affine[1], None


if triton is not None:

    @triton.jit
    def _sum_and_norm(
        rows, plus, bias, weight, shift, total, normed, stats, count, eps, ADDED: tl.constexpr, BIAS: tl.constexpr,
        WIDTH: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Some rows: their sum, and that normalised."""
        row = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
        lane = tl.arange(0, BLOCK)
        inside = lane < WIDTH
        mask = (row[:, None] < count) & inside[None, :]
        place = row[:, None] * WIDTH + lane[None, :]
        x = tl.load(rows + place, mask=mask, other=0.0).to(tl.float32)
        if ADDED:
            more = tl.load(plus + place, mask=mask, other=0.0).to(tl.float32)
            if BIAS:
                more += tl.load(bias + lane, mask=inside, other=0.0).to(tl.float32)[None, :]
            half = (x + more).to(total.dtype.element_ty)  # what is normalised is what is kept
            tl.store(total + place, half, mask=mask)
            x = half.to(tl.float32)
        mean = tl.sum(x, axis=1) / WIDTH
        x = tl.where(mask, x - mean[:, None], 0.0)
        deviation = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / WIDTH + eps)
        w = tl.load(weight + lane, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(shift + lane, mask=inside, other=0.0).to(tl.float32)
        y = x * deviation[:, None] * w[None, :] + b[None, :]
        tl.store(normed + place, y.to(normed.dtype.element_ty), mask=mask)
        tl.store(stats + row, mean, mask=row < count)
        tl.store(stats + count + row, deviation, mask=row < count)

    @triton.jit
    def _sum_and_norm_backward(
        total, weight, stats, grad_total, grad_normed, out, sums, count, second, programs, STEPS: tl.constexpr,
        SUMMING: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Some rows' gradient; and, over them, the sums for weight, bias of the norm and bias of the layer before."""
        program = tl.program_id(0)
        lane = tl.arange(0, BLOCK)
        inside = lane < WIDTH
        w = tl.load(weight + lane, mask=inside, other=0.0).to(tl.float32)
        of_weight = tl.zeros([TILE, BLOCK], tl.float32)
        of_shift = tl.zeros([TILE, BLOCK], tl.float32)
        of_bias = tl.zeros([TILE, BLOCK], tl.float32)
        for step in range(0, STEPS):
            row = ((step * programs + program) * TILE + tl.arange(0, TILE)).to(tl.int64)
            mask = (row[:, None] < count) & inside[None, :]
            place = row[:, None] * WIDTH + lane[None, :]
            mean = tl.load(stats + row, mask=row < count, other=0.0)
            deviation = tl.load(stats + count + row, mask=row < count, other=0.0)
            x = tl.load(total + place, mask=mask, other=0.0).to(tl.float32)
            x = tl.where(mask, (x - mean[:, None]) * deviation[:, None], 0.0)
            d = tl.load(grad_normed + place, mask=mask, other=0.0).to(tl.float32)
            if SUMMING:
                of_weight += d * x
                of_shift += d
            d = d * w[None, :]
            one = tl.sum(d, axis=1) / WIDTH
            two = tl.sum(d * x, axis=1) / WIDTH
            d = deviation[:, None] * (d - one[:, None] - x * two[:, None])
            d += tl.load(grad_total + place, mask=mask, other=0.0).to(tl.float32)
            d = tl.where(mask, d, 0.0)
            if SUMMING:
                of_bias += d
            tl.store(out + place, d.to(out.dtype.element_ty), mask=mask)
        if SUMMING:
            target = sums + program * WIDTH + lane
            tl.store(target, tl.sum(of_weight, axis=0), mask=inside)
            tl.store(target + second, tl.sum(of_shift, axis=0), mask=inside)
            tl.store(target + 2 * second, tl.sum(of_bias, axis=0), mask=inside)
