"""GroupNorm of channels-last images as one coalesced reading for the statistics and one multiply-add.

PyTorch's kernels and those that its compiler writes walk the image group by group, which in channels-last means 20 to
80 bytes at a time. Here whole rows of channels are summed up, groups are formed of the sums, and what remains is a
scale and shift per channel, which the compiler fuses with the activation behind it. On the CPU it is PyTorch's own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of PyTorch
    triton = None

_ROWS = 256  # pixels that one program sums up
_TILE = 32
_CHANNELS = 64


class ChannelsLastGroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` with this file's arithmetic; `make_fast` gives it to the layers of a denoiser."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c, h, w) to the same shape."""
        if triton is None or not x.is_cuda or x.dtype == torch.float32:
            return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        rows = x.permute(0, 2, 3, 1).flatten(1, 2).contiguous()
        scale, shift = scale_and_shift(channel_sums(rows), rows.shape[1], self)
        normed = (rows.float() * scale[:, None] + shift[:, None]).to(x.dtype)
        return normed.unflatten(1, x.shape[-2:]).permute(0, 3, 1, 2)


def scale_and_shift(sums: Tensor, rows: int, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
    """From sums and sums of squares (2, b, c) over `rows` pixels: factor and summand per channel, (b, c) each."""
    grouped = sums.unflatten(-1, (norm.num_groups, -1)).sum(-1) / (rows * (sums.shape[-1] // norm.num_groups))
    mean, square = grouped
    inverse = torch.rsqrt((square - mean * mean).clamp(min=0) + norm.eps)
    per_channel = norm.num_channels // norm.num_groups
    scale = inverse.repeat_interleave(per_channel, -1) * norm.weight.float()
    return scale, norm.bias.float() - mean.repeat_interleave(per_channel, -1) * scale


def channel_sums(rows: Tensor) -> Tensor:
    """Sum and sum of squares over the pixels of rows (b, n, c), contiguous -> (2, b, c) float32."""
    if triton is None or not rows.is_cuda:
        wide = rows.float()
        return torch.stack([wide.sum(1), wide.square().sum(1)])
    batch, count, channels = rows.shape
    chunks = -(-count // _ROWS)
    partial = torch.empty(2, batch, chunks, channels, device=rows.device, dtype=torch.float32)
    blocks = -(-channels // _CHANNELS)
    _sums[(batch * chunks * blocks,)](
        rows, partial, count, batch * chunks * channels, channels, chunks, blocks, _ROWS, _TILE, _CHANNELS, num_warps=4
    )
    return partial.sum(2)


if triton is not None:

    @triton.jit
    def _sums(
        rows,
        partial,
        count,
        second,
        CHANNELS: tl.constexpr,
        CHUNKS: tl.constexpr,
        BLOCKS: tl.constexpr,
        ROWS: tl.constexpr,
        TILE: tl.constexpr,
        WIDTH: tl.constexpr,
    ):
        """One program: some channels of some pixels of one image."""
        program = tl.program_id(0)
        block = program % BLOCKS
        part = program // BLOCKS
        image = (part // CHUNKS).to(tl.int64)
        first = (part % CHUNKS) * ROWS
        channel = block * WIDTH + tl.arange(0, WIDTH)
        total = tl.zeros([WIDTH], tl.float32)
        squares = tl.zeros([WIDTH], tl.float32)
        for start in range(0, ROWS, TILE):
            row = first + start + tl.arange(0, TILE)
            mask = (row[:, None] < count) & (channel[None, :] < CHANNELS)
            values = tl.load(rows + (image * count + row[:, None]) * CHANNELS + channel[None, :], mask=mask, other=0.0)
            values = values.to(tl.float32)
            total += tl.sum(values, axis=0)
            squares += tl.sum(values * values, axis=0)
        target = partial + part.to(tl.int64) * CHANNELS + channel
        tl.store(target, total, mask=channel < CHANNELS)
        tl.store(target + second, squares, mask=channel < CHANNELS)
