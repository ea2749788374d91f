"""GroupNorm with SiLU and an added vector, forward and backward, for channels-last images.

PyTorch's GroupNorm turns a channels-last image into a channels-first one and back. Here whole rows of channels are
read: once for the sums, once to write the result; the backward pass too reads twice and writes once. The gradient of
the added vector (a time embedding and a convolution's bias) falls out of the sums, without another pass.
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

_ROWS = 256  # pixels that one program sums up
_TILE = 32
_CHANNELS = 64


def reference(x: Tensor, norm: nn.GroupNorm, silu: bool = False, added: Tensor | None = None) -> Tensor:
    """GroupNorm of x (b, c, h, w) + added (b, c), if any; then SiLU if asked for."""
    x = x if added is None else x + added[..., None, None]
    normed = F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)
    return F.silu(normed) if silu else normed


def group_norm(x: Tensor, norm: nn.GroupNorm, silu: bool = False, added: Tensor | None = None) -> Tensor:
    """As `reference`, by the kernels where they can take x; the result is channels-last then."""
    if not usable(x):
        return reference(x, norm, silu, added)
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)
    normed: Tensor = _GroupNorm.apply(rows, norm.weight, norm.bias, added, norm.num_groups, norm.eps, silu)
    return normed.view(len(x), *x.shape[-2:], -1).permute(0, 3, 1, 2)


class _GroupNorm(torch.autograd.Function):
    """rows (b, n, c); weight, bias (c,); added (b, c) or None."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None, groups: int, eps: float, silu: bool
    ) -> Tensor:
        rows = rows.contiguous()
        plus = None if added is None else added.contiguous()
        batch, count, channels = rows.shape
        chunks, blocks, width = -(-count // _ROWS), -(-channels // _CHANNELS), channels // groups
        sums = torch.empty(2, batch, chunks, channels, device=rows.device, dtype=torch.float32)
        stats = torch.empty(2, batch, groups, device=rows.device, dtype=torch.float32)
        out = torch.empty_like(rows)
        any_plus = rows if plus is None else plus
        grid = (batch * chunks * blocks,)
        _moments[grid](
            rows, any_plus, sums, count, sums[0].numel(), plus is not None, channels, chunks, blocks, _ROWS, _TILE,
            _CHANNELS, num_warps=4,
        )  # fmt: skip
        _statistics[(batch * groups,)](
            sums, stats, count, eps, sums[0].numel(), batch * groups, channels, chunks, groups, width,
            power_of_two(width), num_warps=1,
        )  # fmt: skip
        _apply[grid](
            rows, any_plus, weight, bias, stats, out, count, batch * groups, plus is not None, silu, channels, chunks,
            blocks, groups, width, _ROWS, _TILE, _CHANNELS, num_warps=4,
        )  # fmt: skip
        ctx.save_for_backward(rows, plus, weight, bias, stats)
        ctx.groups, ctx.silu = groups, silu
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        rows, plus, weight, bias, stats = ctx.saved_tensors
        grad, groups, silu = grad.contiguous(), ctx.groups, ctx.silu
        batch, count, channels = rows.shape
        chunks, blocks, width = -(-count // _ROWS), -(-channels // _CHANNELS), channels // groups
        has_plus = plus is not None
        any_plus = plus if has_plus else rows
        sums = torch.empty(3, batch, chunks, channels, device=rows.device, dtype=torch.float32)
        by_channel = torch.empty(3, batch, channels, device=rows.device, dtype=torch.float32)
        means = torch.empty(2, batch, groups, device=rows.device, dtype=torch.float32)
        grad_rows = torch.empty_like(rows)
        grid = (batch * chunks * blocks,)
        _gradient_sums[grid](
            rows, any_plus, weight, bias, stats, grad, sums, count, batch * groups, sums[0].numel(), has_plus, silu,
            channels, chunks, blocks, groups, width, _ROWS, _TILE, _CHANNELS, num_warps=4,
        )  # fmt: skip
        _gradient_means[(batch * groups,)](
            sums, weight, stats, by_channel, means, count, batch * groups, sums[0].numel(), batch * channels, has_plus,
            channels, chunks, groups, width, power_of_two(width), num_warps=1,
        )  # fmt: skip
        _gradient_apply[grid](
            rows, any_plus, weight, bias, stats, means, grad, grad_rows, count, batch * groups, has_plus, silu,
            channels, chunks, blocks, groups, width, _ROWS, _TILE, _CHANNELS, num_warps=4,
        )  # fmt: skip
        affine = by_channel[:2].sum(1).to(weight.dtype) if any(ctx.needs_input_grad[1:3]) else (None, None)
        grad_plus = by_channel[2].to(plus.dtype) if has_plus and ctx.needs_input_grad[3] else None
        return grad_rows, affine[1], affine[0], grad_plus, None, None, None


if triton is not None:

    @triton.jit
    def _moments(
        rows, plus, sums, count, second, PLUS: tl.constexpr, CHANNELS, CHUNKS, BLOCKS,
        ROWS: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr,
    ):  # fmt: skip
        """Sum and sum of squares over some pixels of an image, for some channels."""
        program = tl.program_id(0)
        part = program // BLOCKS
        image = (part // CHUNKS).to(tl.int64)
        channel = (program % BLOCKS) * WIDTH + tl.arange(0, WIDTH)
        inside = channel < CHANNELS
        extra = tl.zeros([WIDTH], tl.float32)
        if PLUS:
            extra += tl.load(plus + image * CHANNELS + channel, mask=inside, other=0.0).to(tl.float32)
        total = tl.zeros([TILE, WIDTH], tl.float32)
        squares = tl.zeros([TILE, WIDTH], tl.float32)
        for start in tl.static_range(0, ROWS, TILE):
            row = (part % CHUNKS) * ROWS + start + tl.arange(0, TILE)
            mask = (row[:, None] < count) & inside[None, :]
            x = tl.load(rows + (image * count + row[:, None]) * CHANNELS + channel[None, :], mask=mask, other=0.0)
            x = tl.where(mask, x.to(tl.float32) + extra[None, :], 0.0)
            total += x
            squares += x * x
        target = sums + part.to(tl.int64) * CHANNELS + channel
        tl.store(target, tl.sum(total, axis=0), mask=inside)
        tl.store(target + second, tl.sum(squares, axis=0), mask=inside)

    @triton.jit
    def _statistics(
        sums, stats, count, eps, second, second_stat, CHANNELS: tl.constexpr, CHUNKS: tl.constexpr,
        GROUPS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Mean and inverse deviation of one group of one image."""
        program = tl.program_id(0)
        image = (program // GROUPS).to(tl.int64)
        lane = tl.arange(0, BLOCK)
        channel = (program % GROUPS) * WIDTH + lane
        total = tl.zeros([16, BLOCK], tl.float32)
        squares = tl.zeros([16, BLOCK], tl.float32)
        for start in range(0, CHUNKS, 16):
            chunk = start + tl.arange(0, 16)
            mask = (chunk[:, None] < CHUNKS) & (lane[None, :] < WIDTH)
            source = sums + (image * CHUNKS + chunk[:, None]) * CHANNELS + channel[None, :]
            total += tl.load(source, mask=mask, other=0.0)
            squares += tl.load(source + second, mask=mask, other=0.0)
        number = 1.0 * count * WIDTH
        mean = tl.sum(total) / number
        variance = tl.maximum(tl.sum(squares) / number - mean * mean, 0.0)
        tl.store(stats + program, mean)
        tl.store(stats + second_stat + program, 1.0 / tl.sqrt(variance + eps))

    @triton.jit
    def _apply(
        rows, plus, weight, bias, stats, out, count, second_stat, PLUS: tl.constexpr, SILU: tl.constexpr,
        CHANNELS, CHUNKS, BLOCKS, GROUPS, WIDTH_OF_GROUP,
        ROWS: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr,
    ):  # fmt: skip
        """Normalise some pixels of an image, for some channels."""
        program = tl.program_id(0)
        part = program // BLOCKS
        image = (part // CHUNKS).to(tl.int64)
        channel = (program % BLOCKS) * WIDTH + tl.arange(0, WIDTH)
        inside = channel < CHANNELS
        group = stats + image * GROUPS + channel // WIDTH_OF_GROUP
        mean = tl.load(group, mask=inside, other=0.0)
        scale = tl.load(group + second_stat, mask=inside, other=0.0)
        scale *= tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
        if PLUS:
            mean -= tl.load(plus + image * CHANNELS + channel, mask=inside, other=0.0).to(tl.float32)
        shift = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32) - mean * scale
        for start in tl.static_range(0, ROWS, TILE):
            row = (part % CHUNKS) * ROWS + start + tl.arange(0, TILE)
            mask = (row[:, None] < count) & inside[None, :]
            place = (image * count + row[:, None]) * CHANNELS + channel[None, :]
            z = tl.load(rows + place, mask=mask, other=0.0).to(tl.float32) * scale[None, :] + shift[None, :]
            if SILU:
                z = z / (1.0 + tl.exp(-z))
            tl.store(out + place, z.to(out.dtype.element_ty), mask=mask)

    @triton.jit
    def _gradient_sums(
        rows, plus, weight, bias, stats, grad, sums, count, second_stat, second, PLUS: tl.constexpr,
        SILU: tl.constexpr, CHANNELS, CHUNKS, BLOCKS, GROUPS,
        WIDTH_OF_GROUP, ROWS: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr,
    ):  # fmt: skip
        """Over some pixels: sums of the gradient before the SiLU, of it times the normed value, of the normed value."""
        program = tl.program_id(0)
        part = program // BLOCKS
        image = (part // CHUNKS).to(tl.int64)
        channel = (program % BLOCKS) * WIDTH + tl.arange(0, WIDTH)
        inside = channel < CHANNELS
        group = stats + image * GROUPS + channel // WIDTH_OF_GROUP
        mean = tl.load(group, mask=inside, other=0.0)
        deviation = tl.load(group + second_stat, mask=inside, other=0.0)
        w = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
        if PLUS:
            mean -= tl.load(plus + image * CHANNELS + channel, mask=inside, other=0.0).to(tl.float32)
        first = tl.zeros([TILE, WIDTH], tl.float32)
        product = tl.zeros([TILE, WIDTH], tl.float32)
        normed = tl.zeros([TILE, WIDTH], tl.float32)
        for start in tl.static_range(0, ROWS, TILE):
            row = (part % CHUNKS) * ROWS + start + tl.arange(0, TILE)
            mask = (row[:, None] < count) & inside[None, :]
            place = (image * count + row[:, None]) * CHANNELS + channel[None, :]
            x = (tl.load(rows + place, mask=mask, other=0.0).to(tl.float32) - mean[None, :]) * deviation[None, :]
            x = tl.where(mask, x, 0.0)
            d = tl.load(grad + place, mask=mask, other=0.0).to(tl.float32)
            if SILU:
                z = x * w[None, :] + b[None, :]
                s = 1.0 / (1.0 + tl.exp(-z))
                d = d * s * (1.0 + z * (1.0 - s))
            first += d
            product += d * x
            if PLUS:
                normed += x
        target = sums + part.to(tl.int64) * CHANNELS + channel
        tl.store(target, tl.sum(first, axis=0), mask=inside)
        tl.store(target + second, tl.sum(product, axis=0), mask=inside)
        if PLUS:
            tl.store(target + 2 * second, tl.sum(normed, axis=0), mask=inside)

    @triton.jit
    def _gradient_means(
        sums, weight, stats, by_channel, means, count, second_stat, second, second_channel, PLUS: tl.constexpr,
        CHANNELS: tl.constexpr, CHUNKS: tl.constexpr, GROUPS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Of one group of one image: the sums of each channel, and the two means that the gradient takes off."""
        program = tl.program_id(0)
        image = (program // GROUPS).to(tl.int64)
        lane = tl.arange(0, BLOCK)
        inside = lane < WIDTH
        channel = (program % GROUPS) * WIDTH + lane
        first = tl.zeros([16, BLOCK], tl.float32)
        product = tl.zeros([16, BLOCK], tl.float32)
        normed = tl.zeros([16, BLOCK], tl.float32)
        for start in range(0, CHUNKS, 16):
            chunk = start + tl.arange(0, 16)
            mask = (chunk[:, None] < CHUNKS) & inside[None, :]
            source = sums + (image * CHUNKS + chunk[:, None]) * CHANNELS + channel[None, :]
            first += tl.load(source, mask=mask, other=0.0)
            product += tl.load(source + second, mask=mask, other=0.0)
            if PLUS:
                normed += tl.load(source + 2 * second, mask=mask, other=0.0)
        one, two = tl.sum(first, axis=0), tl.sum(product, axis=0)
        w = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
        number = 1.0 * count * WIDTH
        mean_one, mean_two = tl.sum(one * w) / number, tl.sum(two * w) / number
        target = by_channel + image * CHANNELS + channel
        tl.store(target, one, mask=inside)
        tl.store(target + second_channel, two, mask=inside)
        if PLUS:
            deviation = tl.load(stats + second_stat + program)
            plus = deviation * (one * w - count * mean_one - mean_two * tl.sum(normed, axis=0))
            tl.store(target + 2 * second_channel, plus, mask=inside)
        tl.store(means + program, mean_one)
        tl.store(means + second_stat + program, mean_two)

    @triton.jit
    def _gradient_apply(
        rows, plus, weight, bias, stats, means, grad, out, count, second_stat, PLUS: tl.constexpr, SILU: tl.constexpr,
        CHANNELS, CHUNKS, BLOCKS, GROUPS, WIDTH_OF_GROUP,
        ROWS: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr,
    ):  # fmt: skip
        """The gradient of some pixels, for some channels."""
        program = tl.program_id(0)
        part = program // BLOCKS
        image = (part // CHUNKS).to(tl.int64)
        channel = (program % BLOCKS) * WIDTH + tl.arange(0, WIDTH)
        inside = channel < CHANNELS
        place_of_group = image * GROUPS + channel // WIDTH_OF_GROUP
        mean = tl.load(stats + place_of_group, mask=inside, other=0.0)
        deviation = tl.load(stats + second_stat + place_of_group, mask=inside, other=0.0)
        one = tl.load(means + place_of_group, mask=inside, other=0.0)
        two = tl.load(means + second_stat + place_of_group, mask=inside, other=0.0)
        w = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
        if PLUS:
            mean -= tl.load(plus + image * CHANNELS + channel, mask=inside, other=0.0).to(tl.float32)
        for start in tl.static_range(0, ROWS, TILE):
            row = (part % CHUNKS) * ROWS + start + tl.arange(0, TILE)
            mask = (row[:, None] < count) & inside[None, :]
            place = (image * count + row[:, None]) * CHANNELS + channel[None, :]
            x = (tl.load(rows + place, mask=mask, other=0.0).to(tl.float32) - mean[None, :]) * deviation[None, :]
            d = tl.load(grad + place, mask=mask, other=0.0).to(tl.float32)
            if SILU:
                z = x * w[None, :] + b[None, :]
                s = 1.0 / (1.0 + tl.exp(-z))
                d = d * s * (1.0 + z * (1.0 - s))
            d = deviation[None, :] * (d * w[None, :] - one[None, :] - x * two[None, :])
            tl.store(out + place, d.to(out.dtype.element_ty), mask=mask)
