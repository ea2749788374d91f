"""Attention over the few frames of a window, for every pixel of a latent grid, where the tokens lie.

Motion modules attend along time: tens of thousands of tiny problems (16 x 16 scores). Kernels made for long sequences
waste most of their tile on them, and want the frame axis moved next to the channels first. This one reads (frame,
pixel, channel) as the convolutions leave it. Where it is `unsupported` the same function is PyTorch's attention.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fye_model.fast.kernels.trial import HALF, draw, missing, tried

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of PyTorch
    triton = None


def reference(qkv: Tensor, heads: int) -> Tensor:
    """Attend between the frames of each pixel, by PyTorch: qkv (b, f, n, 3c) -> (b, f, n, c)."""
    query, key, value = qkv.unflatten(-1, (3, heads, -1)).permute(3, 0, 2, 4, 1, 5)
    return F.scaled_dot_product_attention(query, key, value).permute(0, 3, 1, 2, 4).flatten(3)


@cache
def unsupported(device: torch.device, dtype: torch.dtype, heads: int, width: int) -> str | None:
    """Why the kernel is not used for heads of `width` channels; None where it is. Tries it, the first time."""
    return missing(device, dtype, triton) or _try(device, dtype, heads, width)


def frame_attention(qkv: Tensor, heads: int) -> Tensor:
    """`reference`, by the kernel where it can."""
    if triton is None or not qkv.is_cuda or qkv.dtype not in HALF:
        return reference(qkv, heads)
    return attend_frames(qkv.contiguous(), heads)


# An operator of its own: the compiler calls it as it is, with the alignment that Triton finds at launch.
@torch.library.custom_op("fye::attend_frames", mutates_args=())
def attend_frames(qkv: Tensor, heads: int) -> Tensor:
    """The kernel, or the reference where it is unsupported, on qkv (b, f, n, 3c), contiguous; so is the result."""
    if unsupported(qkv.device, qkv.dtype, heads, qkv.shape[-1] // 3 // heads):
        return reference(qkv, heads).contiguous()
    return _launch(qkv, heads)


@attend_frames.register_fake
def _(qkv, heads):  # type: ignore[no-untyped-def]
    return qkv.new_empty(*qkv.shape[:-1], qkv.shape[-1] // 3)


def _try(device: torch.device, dtype: torch.dtype, heads: int, width: int) -> str | None:
    qkv = draw(device, dtype)(2, 16, 3, 3 * heads * width)
    name = f"attention over frames, heads of {width} channels,"
    return tried(name, lambda: _launch(qkv, heads), lambda: reference(qkv.float(), heads))


def _launch(qkv: Tensor, heads: int) -> Tensor:
    batch, frames, pixels, channels = qkv.shape
    channels //= 3
    width = channels // heads
    out = torch.empty(batch, frames, pixels, channels, device=qkv.device, dtype=qkv.dtype)
    block = max(16, 1 << (width - 1).bit_length())
    _attend_frames[(batch * pixels * heads,)](
        qkv,
        out,
        pixels,
        width**-0.5 * 1.4426950408889634,  # base 2 exponentials
        frames,
        channels,
        heads,
        width,
        max(16, 1 << (frames - 1).bit_length()),
        block,
        num_warps=1 if block <= 64 else 2,
    )
    return out


if triton is not None:

    @triton.jit
    def _attend_frames(
        qkv,
        out,
        pixels,
        scale,
        FRAMES: tl.constexpr,
        CHANNELS: tl.constexpr,
        HEADS: tl.constexpr,
        WIDTH: tl.constexpr,
        FRAME_BLOCK: tl.constexpr,
        WIDTH_BLOCK: tl.constexpr,
    ):
        """One program: one head of one pixel, all its frames."""
        program = tl.program_id(0)
        head = program % HEADS
        pixel = program // HEADS
        batch = pixel // pixels
        frame = tl.arange(0, FRAME_BLOCK)
        rows = ((batch * FRAMES + frame) * pixels + pixel % pixels).to(tl.int64)
        lane = tl.arange(0, WIDTH_BLOCK)
        mask = (frame[:, None] < FRAMES) & (lane[None, :] < WIDTH)
        source = qkv + rows[:, None] * (3 * CHANNELS) + head * WIDTH + lane[None, :]
        query = tl.load(source, mask=mask, other=0.0)
        key = tl.load(source + CHANNELS, mask=mask, other=0.0)
        value = tl.load(source + 2 * CHANNELS, mask=mask, other=0.0)
        scores = tl.dot(query, tl.trans(key)) * scale
        scores = tl.where(frame[None, :] < FRAMES, scores, float("-inf"))
        weights = tl.exp2(scores - tl.max(scores, axis=1)[:, None])
        total = tl.sum(weights, axis=1)
        result = tl.dot(weights.to(value.dtype), value) / total[:, None]
        target = out + rows[:, None] * CHANNELS + head * WIDTH + lane[None, :]
        tl.store(target, result.to(value.dtype), mask=mask)
