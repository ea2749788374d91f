"""Elementwise work around convolutions of channels-last images, in one reading and one writing.

A convolution's bias is added by a kernel of its own, and not a fast one where channels lie innermost; the residual and
the rearranging behind an upsampling read and write the image again. Here each is one pass. Where the kernels are
`unsupported` the same functions are PyTorch's.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from fye_model.fast.kernels.trial import HALF, draw, missing, tried

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of PyTorch
    triton = None

_BLOCK = 2048


def reference_sum(x: Tensor, residual: Tensor, bias: Tensor) -> Tensor:
    """x + residual + bias by PyTorch, channels last: (..., c) and bias (c,)."""
    return x + bias + residual


def reference_interleave(parts: Tensor, bias: Tensor) -> Tensor:
    """`interleave` by PyTorch, of parts (b, h + 1, w + 1, 2, 2, c) -> (b, 2h, 2w, c)."""
    batch, height, width = parts.shape[0], parts.shape[1] - 1, parts.shape[2] - 1
    image = parts.new_empty(batch, height, 2, width, 2, parts.shape[-1])
    for row in (0, 1):
        for column in (0, 1):
            image[:, :, row, :, column] = parts[:, row : row + height, column : column + width, row, column]
    return image.flatten(3, 4).flatten(1, 2) + bias


@cache
def unsupported(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the kernels are not used; None where they are. Tries them, the first time."""
    return missing(device, dtype, triton) or _try(device, dtype)


def add_residual(x: Tensor, residual: Tensor, bias: Tensor) -> Tensor:
    """x + residual + bias: images (b, c, h, w), bias (c,)."""
    rows, beside = x.permute(0, 2, 3, 1), residual.permute(0, 2, 3, 1)
    if triton is None or not x.is_cuda or x.dtype not in HALF:
        return reference_sum(rows, beside, bias).permute(0, 3, 1, 2)
    return add_rows(rows, beside, bias).permute(0, 3, 1, 2)


def interleave(phases: Tensor, bias: Tensor) -> Tensor:
    """Put an image together from the four that make up its even and odd rows and columns, and add a bias (c,).

    phases: (b, 4c, h + 1, w + 1), as a convolution with 2x2 weights and padding 1 makes them: the image of even rows
    starts at its first row, that of odd ones at its second; columns alike. Returns (b, c, 2h, 2w).
    """
    parts = phases.permute(0, 2, 3, 1).unflatten(-1, (2, 2, -1))  # (b, h + 1, w + 1, row, column, c)
    if triton is None or not phases.is_cuda or phases.dtype not in HALF:
        return reference_interleave(parts, bias).permute(0, 3, 1, 2)
    return interleave_rows(parts.contiguous(), bias).permute(0, 3, 1, 2)


@torch.library.custom_op("fye::add_rows", mutates_args=())
def add_rows(x: Tensor, residual: Tensor, bias: Tensor) -> Tensor:
    """x + residual + bias with channels last; the result is contiguous."""
    if unsupported(x.device, x.dtype):
        return reference_sum(x, residual, bias).contiguous()
    return _launch_sum(x.contiguous(), residual.contiguous(), bias)


@add_rows.register_fake
def _(x, residual, bias):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape)


@torch.library.custom_op("fye::interleave_rows", mutates_args=())
def interleave_rows(parts: Tensor, bias: Tensor) -> Tensor:
    """`interleave` of parts (b, h + 1, w + 1, 2, 2, c), contiguous -> (b, 2h, 2w, c)."""
    if unsupported(parts.device, parts.dtype):
        return reference_interleave(parts, bias)
    return _launch_interleave(parts, bias)


@interleave_rows.register_fake
def _(parts, bias):  # type: ignore[no-untyped-def]
    batch, height, width = parts.shape[0], 2 * (parts.shape[1] - 1), 2 * (parts.shape[2] - 1)
    return parts.new_empty(batch, height, width, parts.shape[-1])


def _try(device: torch.device, dtype: torch.dtype) -> str | None:
    make = draw(device, dtype)
    x, residual, bias, parts = make(2, 5, 7, 48), make(2, 5, 7, 48), make(48), make(2, 5, 6, 2, 2, 48)

    def kernels() -> Tensor:
        return torch.cat([_launch_sum(x, residual, bias).flatten(), _launch_interleave(parts, bias).flatten()])

    def expected() -> Tensor:
        added = reference_sum(x.float(), residual.float(), bias.float())
        return torch.cat([added.flatten(), reference_interleave(parts.float(), bias.float()).flatten()])

    return tried("elementwise work", kernels, expected)


def _launch_sum(x: Tensor, residual: Tensor, bias: Tensor) -> Tensor:
    out = torch.empty_like(x)
    _add[(triton.cdiv(x.numel(), _BLOCK),)](x, residual, bias, out, x.numel(), x.shape[-1], _BLOCK, num_warps=8)
    return out


def _launch_interleave(parts: Tensor, bias: Tensor) -> Tensor:
    batch, height, width, channels = parts.shape[0], parts.shape[1] - 1, parts.shape[2] - 1, parts.shape[-1]
    out = parts.new_empty(batch, 2 * height, 2 * width, channels)
    _weave[(triton.cdiv(out.numel(), _BLOCK),)](
        parts, bias, out, out.numel(), height, width, channels, _BLOCK, num_warps=8
    )
    return out


if triton is not None:

    @triton.jit
    def _add(x, residual, bias, out, count, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
        """Sums of some elements in the order in which they lie."""
        place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        mask = place < count
        total = tl.load(x + place, mask=mask).to(tl.float32) + tl.load(residual + place, mask=mask).to(tl.float32)
        total += tl.load(bias + place % CHANNELS, mask=mask).to(tl.float32)
        tl.store(out + place, total.to(out.dtype.element_ty), mask=mask)

    @triton.jit
    def _weave(
        parts, bias, out, count, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
    ):
        """Some elements of the image, in the order in which they lie."""
        place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        mask = place < count
        channel, pixel = place % CHANNELS, place // CHANNELS
        column, line = pixel % (2 * WIDTH), pixel // (2 * WIDTH)
        row, image = line % (2 * HEIGHT), line // (2 * HEIGHT)
        odd_row, odd_column = row % 2, column % 2
        source = (image * (HEIGHT + 1) + row // 2 + odd_row) * (WIDTH + 1) + column // 2 + odd_column
        source = (source * 4 + odd_row * 2 + odd_column) * CHANNELS + channel
        value = tl.load(parts + source, mask=mask).to(tl.float32) + tl.load(bias + channel, mask=mask).to(tl.float32)
        tl.store(out + place, value.to(out.dtype.element_ty), mask=mask)
