"""Three things that pass over large tensors once, where PyTorch's autograd passes over them three to six times.

`gated`: the two halves of a gated layer. `add_bias`: a convolution's bias and the residual. `join`: a frame's own
tokens beside those of its reference. Each has a backward pass that writes its gradients whole, where slices would
otherwise be filled with zeros and added up.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fye_model.training.kernels.linear import column_sums
from fye_model.training.kernels.support import usable

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of PyTorch
    triton = None

_BLOCK = 1024


def gated_reference(both: Tensor) -> Tensor:
    """The first half of the channels times GELU of the second: (..., 2c) -> (..., c)."""
    value, gate = both.chunk(2, -1)
    return value * F.gelu(gate)


def gated(both: Tensor) -> Tensor:
    """As `gated_reference`."""
    if not usable(both):
        return gated_reference(both)
    out: Tensor = _Gated.apply(both)
    return out


def add_bias_reference(x: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """x + bias + residual: (..., c), (c,), (..., c)."""
    return x + bias + residual


def add_bias(x: Tensor, bias: Tensor, residual: Tensor, by_kernel: bool = False) -> Tensor:
    """As `add_bias_reference`; `by_kernel`: the bias's gradient is summed by the kernel of `column_sums`."""
    if not usable(x):
        return add_bias_reference(x, bias, residual)
    out: Tensor = _AddBias.apply(x, bias, residual, by_kernel)
    return out


def join_reference(own: Tensor, shared: Tensor, alone: Tensor | None, frames: int) -> Tensor:
    """[own ; shared] on the token axis: own (b·f, n, c), shared (b, m, c) -> (b·f, n + m, c).

    Items marked in `alone` (b,) get their own tokens twice instead, which needs m = n.
    """
    video = own.unflatten(0, (-1, frames))
    repeated = shared[:, None].expand(-1, frames, -1, -1)
    if alone is not None:
        repeated = torch.where(alone[:, None, None, None], video, repeated)
    return torch.cat([video, repeated], 2).flatten(0, 1)


def join(own: Tensor, shared: Tensor, alone: Tensor | None, frames: int) -> Tensor:
    """As `join_reference`."""
    if not usable(own, shared):
        return join_reference(own, shared, alone, frames)
    if alone is not None and own.shape[1] != shared.shape[1]:
        raise ValueError(
            f"the reference has {shared.shape[1]} tokens where the frames have {own.shape[1]}; unconditional items "
            "need a reference latent of the frames' size"
        )
    out: Tensor = _Join.apply(own, shared, alone, frames)
    return out


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        both = both.contiguous()
        width = both.shape[-1] // 2
        out = both.new_empty(*both.shape[:-1], width)
        _gate[(-(-out.numel() // _BLOCK),)](both, out, out.numel(), width, _BLOCK)
        ctx.save_for_backward(both)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (both,) = ctx.saved_tensors
        grad, out = grad.contiguous(), torch.empty_like(both)
        _gate_backward[(-(-grad.numel() // _BLOCK),)](both, grad, out, grad.numel(), both.shape[-1] // 2, _BLOCK)
        return out


class _AddBias(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, residual: Tensor, by_kernel: bool) -> Tensor:
        ctx.by_kernel = by_kernel
        x, residual = x.contiguous(), residual.contiguous()
        out = torch.empty_like(x)
        _bias_and_residual[(-(-x.numel() // _BLOCK),)](x, bias, residual, out, x.numel(), x.shape[-1], _BLOCK)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None]:  # type: ignore[override]
        bias = None
        if ctx.needs_input_grad[1]:
            bias = column_sums(grad) if ctx.by_kernel else grad.flatten(0, -2).sum(0)
        return grad, bias, grad, None


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, shared: Tensor, alone: Tensor | None, frames: int) -> Tensor:
        own, shared = own.contiguous(), shared.contiguous()
        images, count, width = own.shape
        more = shared.shape[1]
        out = own.new_empty(images, count + more, width)
        flags = own if alone is None else alone
        blocks = -(-(count + more) * width // _BLOCK)
        _join[(images * blocks,)](
            own, shared, flags, out, count * width, more * width, blocks, frames, alone is not None, _BLOCK
        )
        ctx.save_for_backward(alone)
        ctx.sizes = images, count, more, width, frames
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:  # type: ignore[override]
        (alone,) = ctx.saved_tensors
        images, count, more, width, frames = ctx.sizes
        grad = grad.contiguous()
        own = grad.new_empty(images, count, width)
        flags = grad if alone is None else alone
        blocks = -(-count * width // _BLOCK)
        sizes = (count * width, more * width)
        _join_backward_own[(images * blocks,)](grad, flags, own, *sizes, blocks, frames, alone is not None, _BLOCK)
        if not ctx.needs_input_grad[1]:
            return own, None, None, None
        shared = grad.new_empty(images // frames, more, width)
        blocks = -(-more * width // _BLOCK)
        _join_backward_shared[(images // frames * blocks,)](
            grad, flags, shared, *sizes, blocks, frames, alone is not None, _BLOCK
        )
        return own, shared, None, None


if triton is not None:

    @triton.jit
    def _gate(both, out, count, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
        place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        mask = place < count
        source = both + place // WIDTH * (2 * WIDTH) + place % WIDTH
        value = tl.load(source, mask=mask, other=0.0).to(tl.float32)
        gate = tl.load(source + WIDTH, mask=mask, other=0.0).to(tl.float32)
        value *= 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
        tl.store(out + place, value.to(out.dtype.element_ty), mask=mask)

    @triton.jit
    def _gate_backward(both, grad, out, count, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
        place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        mask = place < count
        offset = place // WIDTH * (2 * WIDTH) + place % WIDTH
        value = tl.load(both + offset, mask=mask, other=0.0).to(tl.float32)
        gate = tl.load(both + offset + WIDTH, mask=mask, other=0.0).to(tl.float32)
        d = tl.load(grad + place, mask=mask, other=0.0).to(tl.float32)
        share = 0.5 * (1.0 + tl.erf(gate * 0.7071067811865476))
        slope = share + gate * 0.3989422804014327 * tl.exp(-0.5 * gate * gate)
        tl.store(out + offset, (d * gate * share).to(out.dtype.element_ty), mask=mask)
        tl.store(out + offset + WIDTH, (d * value * slope).to(out.dtype.element_ty), mask=mask)

    @triton.jit
    def _bias_and_residual(x, bias, residual, out, count, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
        place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        mask = place < count
        total = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        total += tl.load(bias + place % WIDTH, mask=mask, other=0.0).to(tl.float32)
        total += tl.load(residual + place, mask=mask, other=0.0).to(tl.float32)
        tl.store(out + place, total.to(out.dtype.element_ty), mask=mask)

    @triton.jit
    def _join(
        own, shared, alone, out, FIRST, SECOND, BLOCKS, FRAMES: tl.constexpr, ALONE: tl.constexpr, BLOCK: tl.constexpr
    ):
        program = tl.program_id(0)
        image = (program // BLOCKS).to(tl.int64)
        item = image // FRAMES
        place = (program % BLOCKS) * BLOCK + tl.arange(0, BLOCK)
        mask = place < FIRST + SECOND
        is_own = place < FIRST
        behind = place - FIRST
        twice = False
        if ALONE:
            twice = tl.load(alone + item) != 0
        from_own = is_own | twice
        mine = tl.load(own + image * FIRST + tl.where(is_own, place, behind), mask=mask & from_own, other=0.0)
        theirs = tl.load(shared + item * SECOND + behind, mask=mask & (from_own == 0), other=0.0)
        tl.store(out + image * (FIRST + SECOND) + place, tl.where(from_own, mine, theirs), mask=mask)

    @triton.jit
    def _join_backward_own(
        grad, alone, own, FIRST, SECOND, BLOCKS, FRAMES: tl.constexpr, ALONE: tl.constexpr, BLOCK: tl.constexpr
    ):  # fmt: skip
        program = tl.program_id(0)
        image = (program // BLOCKS).to(tl.int64)
        place = (program % BLOCKS) * BLOCK + tl.arange(0, BLOCK)
        mask = place < FIRST
        source = grad + image * (FIRST + SECOND) + place
        total = tl.load(source, mask=mask, other=0.0).to(tl.float32)
        if ALONE:
            twice = tl.load(alone + image // FRAMES) != 0
            total += tl.load(source + FIRST, mask=mask & twice, other=0.0).to(tl.float32)
        tl.store(own + image * FIRST + place, total.to(own.dtype.element_ty), mask=mask)

    @triton.jit
    def _join_backward_shared(
        grad, alone, shared, FIRST, SECOND, BLOCKS, FRAMES: tl.constexpr, ALONE: tl.constexpr, BLOCK: tl.constexpr
    ):  # fmt: skip
        program = tl.program_id(0)
        item = (program // BLOCKS).to(tl.int64)
        place = (program % BLOCKS) * BLOCK + tl.arange(0, BLOCK)
        mask = place < SECOND
        used = mask
        if ALONE:
            used = mask & (tl.load(alone + item) == 0)
        total = tl.zeros([BLOCK], tl.float32)
        for frame in range(0, FRAMES):
            source = grad + (item * FRAMES + frame) * (FIRST + SECOND) + FIRST + place
            total += tl.load(source, mask=used, other=0.0).to(tl.float32)
        tl.store(shared + item * SECOND + place, total.to(shared.dtype.element_ty), mask=mask)
