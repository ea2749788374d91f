"""Attention over the few frames of a clip, for every pixel, where the tokens lie; forward and backward.

A motion module has tens of thousands of problems of 16 x 16 scores. Kernels for long sequences waste most of their
tile on them, and want the frame axis moved beside the channels first, and back behind. One program here reads one head
of one pixel in all its frames, as the convolutions leave them; the backward pass works the scores out anew.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fye_model.training.kernels.support import power_of_two, usable

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of PyTorch
    triton = None


def reference(qkv: Tensor, heads: int) -> Tensor:
    """Attend between the frames of each pixel: qkv (b, f, n, 3c) -> (b, f, n, c)."""
    query, key, value = qkv.unflatten(-1, (3, heads, -1)).permute(3, 0, 2, 4, 1, 5)
    return F.scaled_dot_product_attention(query, key, value).permute(0, 3, 1, 2, 4).flatten(3)


def frame_attention(qkv: Tensor, heads: int) -> Tensor:
    """As `reference`."""
    if not usable(qkv):
        return reference(qkv, heads)
    out: Tensor = _FrameAttention.apply(qkv, heads)
    return out


class _FrameAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int) -> Tensor:
        qkv = qkv.contiguous()
        batch, frames, pixels, channels = qkv.shape
        out = qkv.new_empty(batch, frames, pixels, channels // 3)
        _attend[(batch * pixels * heads,)](qkv, out, *_sizes(qkv, heads), num_warps=_warps(qkv, heads))
        ctx.save_for_backward(qkv)
        ctx.heads = heads
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (qkv,) = ctx.saved_tensors
        out, heads = torch.empty_like(qkv), ctx.heads
        programs = qkv.shape[0] * qkv.shape[2] * heads
        _attend_backward[(programs,)](
            qkv, grad.contiguous(), out, *_sizes(qkv, heads), num_warps=_warps(qkv, heads) * 2
        )
        return out, None


def _sizes(qkv: Tensor, heads: int) -> tuple[float | int, ...]:
    _, frames, pixels, channels = qkv.shape
    width = channels // 3 // heads
    return (
        pixels, width**-0.5, frames, channels // 3, heads, width, power_of_two(frames, 16), power_of_two(width, 16)
    )  # fmt: skip


def _warps(qkv: Tensor, heads: int) -> int:
    return 1 if qkv.shape[-1] // 3 // heads <= 64 else 2


if triton is not None:

    @triton.jit
    def _attend(
        qkv, out, pixels, scale, FRAMES: tl.constexpr, CHANNELS: tl.constexpr, HEADS: tl.constexpr,
        WIDTH: tl.constexpr, FRAME_BLOCK: tl.constexpr, WIDTH_BLOCK: tl.constexpr,
    ):  # fmt: skip
        """One head of one pixel, all its frames."""
        program = tl.program_id(0)
        head = program % HEADS
        pixel = program // HEADS
        frame = tl.arange(0, FRAME_BLOCK)
        rows = ((pixel // pixels * FRAMES + frame) * pixels + pixel % pixels).to(tl.int64)
        lane = tl.arange(0, WIDTH_BLOCK)
        mask = (frame[:, None] < FRAMES) & (lane[None, :] < WIDTH)
        source = qkv + rows[:, None] * (3 * CHANNELS) + head * WIDTH + lane[None, :]
        query = tl.load(source, mask=mask, other=0.0)
        key = tl.load(source + CHANNELS, mask=mask, other=0.0)
        value = tl.load(source + 2 * CHANNELS, mask=mask, other=0.0)
        scores = tl.dot(query, tl.trans(key)) * scale
        scores = tl.where(frame[None, :] < FRAMES, scores, float("-inf"))
        weights = tl.exp(scores - tl.max(scores, axis=1)[:, None])
        weights = weights / tl.sum(weights, axis=1)[:, None]
        result = tl.dot(weights.to(value.dtype), value)
        target = out + rows[:, None] * CHANNELS + head * WIDTH + lane[None, :]
        tl.store(target, result.to(value.dtype), mask=mask)

    @triton.jit
    def _attend_backward(
        qkv, grad, out, pixels, scale, FRAMES: tl.constexpr, CHANNELS: tl.constexpr, HEADS: tl.constexpr,
        WIDTH: tl.constexpr, FRAME_BLOCK: tl.constexpr, WIDTH_BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Gradients of one head of one pixel, all its frames."""
        program = tl.program_id(0)
        head = program % HEADS
        pixel = program // HEADS
        frame = tl.arange(0, FRAME_BLOCK)
        rows = ((pixel // pixels * FRAMES + frame) * pixels + pixel % pixels).to(tl.int64)
        lane = tl.arange(0, WIDTH_BLOCK)
        mask = (frame[:, None] < FRAMES) & (lane[None, :] < WIDTH)
        offset = rows[:, None] * (3 * CHANNELS) + head * WIDTH + lane[None, :]
        query = tl.load(qkv + offset, mask=mask, other=0.0)
        key = tl.load(qkv + offset + CHANNELS, mask=mask, other=0.0)
        value = tl.load(qkv + offset + 2 * CHANNELS, mask=mask, other=0.0)
        d = tl.load(grad + rows[:, None] * CHANNELS + head * WIDTH + lane[None, :], mask=mask, other=0.0)
        scores = tl.dot(query, tl.trans(key)) * scale
        scores = tl.where(frame[None, :] < FRAMES, scores, float("-inf"))
        weights = tl.exp(scores - tl.max(scores, axis=1)[:, None])
        weights = weights / tl.sum(weights, axis=1)[:, None]
        d_weights = tl.dot(d, tl.trans(value))
        d_scores = weights * (d_weights - tl.sum(weights * d_weights, axis=1)[:, None]) * scale
        # frames that are not there have a gradient of zero, and so add nothing to the keys' and values'
        half = d_scores.to(key.dtype)
        d_query = tl.dot(half, key)
        d_key = tl.dot(tl.trans(half), query)
        d_value = tl.dot(tl.trans(weights.to(d.dtype)), d)
        kind = out.dtype.element_ty
        tl.store(out + offset, d_query.to(kind), mask=mask)
        tl.store(out + offset + CHANNELS, d_key.to(kind), mask=mask)
        tl.store(out + offset + 2 * CHANNELS, d_value.to(kind), mask=mask)
