"""GroupNorm with SiLU for channels-last images, in one coalesced reading and one reading and writing.

PyTorch's kernels, and those that its compiler writes, walk a channels-last image group by group, 20 to 80 bytes at a
time, and work the statistics out anew for every element. Here whole rows of channels are summed up, a small kernel
makes a scale and a shift per channel of the sums, and a third applies them. Where the kernels are `unsupported` the
same function is PyTorch's own.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fye_model.fast.kernels.trial import HALF, draw, missing, tried

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of PyTorch
    triton = None

_ROWS = 256  # pixels that one program looks at
_TILE = 32
_CHANNELS = 64


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    eps: float,
    silu: bool = False,
    added: Tensor | None = None,
    behind: Tensor | None = None,
) -> Tensor:
    """Norm of x (b, c, ...) + added (b, c), by PyTorch, or of [x ; behind]; then SiLU if asked for."""
    x = x if behind is None else torch.cat([x, behind], 1)
    x = x if added is None else x + added.unflatten(1, (-1, *[1] * (x.ndim - 2)))
    normed = F.group_norm(x, groups, weight, bias, eps)
    return F.silu(normed) if silu else normed


@cache
def unsupported(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the kernels are not used; None where they are. Tries them, the first time."""
    return missing(device, dtype, triton) or _try(device, dtype)


def group_norm(
    x: Tensor, norm: nn.Module, silu: bool = False, added: Tensor | None = None, behind: Tensor | None = None
) -> Tensor:
    """Norm of x (b, c, h, w) + added (b, c), if any; then SiLU if asked for.

    `norm` is an `nn.GroupNorm` or has the same parameters and numbers. behind (b, c', h, w): further channels, as if
    they were concatenated to x (which then takes no `added`).
    """
    assert added is None or behind is None
    groups, eps, weight, bias = norm.num_groups, norm.eps, norm.weight, norm.bias
    if triton is None or not x.is_cuda or x.dtype not in HALF:
        return reference(x, weight, bias, groups, eps, silu, added, behind)  # type: ignore[arg-type]
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)
    more = None if behind is None else behind.permute(0, 2, 3, 1).flatten(1, 2)
    normed = norm_rows(rows, weight, bias, added, more, groups, eps, silu)
    return normed.unflatten(1, x.shape[-2:]).permute(0, 3, 1, 2)


# An operator of its own: the compiler calls it as it is, with the alignment that Triton finds at launch.
@torch.library.custom_op("fye::norm_rows", mutates_args=())
def norm_rows(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    more: Tensor | None,
    groups: int,
    eps: float,
    silu: bool,
) -> Tensor:
    """Norm of rows (b, n, c), or [rows ; more], over n and the channels of a group; the result is contiguous."""
    if unsupported(rows.device, rows.dtype):
        behind = None if more is None else more.mT
        return reference(rows.mT, weight, bias, groups, eps, silu, added, behind).mT.contiguous()
    sources = [rows.contiguous()] if more is None else [rows.contiguous(), more.contiguous()]
    return _launch(sources, weight, bias, added, groups, eps, silu)


@norm_rows.register_fake
def _(rows, weight, bias, added, more, groups, eps, silu):  # type: ignore[no-untyped-def]
    return rows.new_empty(*rows.shape[:2], len(weight))


def _try(device: torch.device, dtype: torch.dtype) -> str | None:
    """Both uses: something added first, and channels in two parts; with more pixels than a program looks at."""
    make = draw(device, dtype)
    first, second = make(2, 300, 80) + 0.5, make(2, 300, 16)
    added, weight, bias = make(2, 96), make(96), make(96)
    whole = torch.cat([first, second], -1)

    def kernel() -> Tensor:
        plus = _launch([whole], weight, bias, added, 8, 1e-5, True)
        return torch.stack([plus, _launch([first, second], weight, bias, None, 8, 1e-5, False)])

    def expected() -> Tensor:
        rows, scale, shift = whole.mT.float(), weight.float(), bias.float()
        plus = reference(rows, scale, shift, 8, 1e-5, True, added.float())
        return torch.stack([plus, reference(rows, scale, shift, 8, 1e-5)]).mT

    return tried("group norm", kernel, expected)


def _launch(
    sources: list[Tensor], weight: Tensor, bias: Tensor, added: Tensor | None, groups: int, eps: float, silu: bool
) -> Tensor:
    """Run the kernels on contiguous rows (b, n, c), whose channels lie beside each other in the result."""
    first = sources[0]
    batch, count = first.shape[:2]
    channels, chunks = sum(rows.shape[2] for rows in sources), -(-count // _ROWS)
    sums = torch.empty(2, batch, chunks, channels, device=first.device, dtype=torch.float32)
    affine = torch.empty(2, batch, channels, device=first.device, dtype=torch.float32)
    out = first.new_empty(batch, count, channels)
    plus = first if added is None else added.contiguous()
    starts = [sum(rows.shape[2] for rows in sources[:index]) for index in range(len(sources))]
    for rows, start in zip(sources, starts, strict=True):
        blocks = -(-rows.shape[2] // _CHANNELS)
        _sums[(batch * chunks * blocks,)](
            rows, plus, sums, count, batch * chunks * channels, added is not None, rows.shape[2], start, channels,
            chunks, blocks, _ROWS, _TILE, _CHANNELS, num_warps=4,
        )  # fmt: skip
    width = channels // groups
    _affine[(batch * groups,)](
        sums, plus, weight, bias, affine, count, eps, batch * chunks * channels, batch * channels, added is not None,
        channels, chunks, groups, width, 1 << max(width - 1, 1).bit_length(), num_warps=1,
    )  # fmt: skip
    for rows, start in zip(sources, starts, strict=True):
        blocks = -(-rows.shape[2] // _CHANNELS)
        _apply[(batch * chunks * blocks,)](
            rows, affine, out, count, batch * channels, silu, rows.shape[2], start, channels, chunks, blocks, _ROWS,
            _TILE, _CHANNELS, num_warps=4,
        )  # fmt: skip
    return out


if triton is not None:

    @triton.jit
    def _sums(
        rows, plus, sums, count, second, PLUS: tl.constexpr, SOURCE: tl.constexpr, START: tl.constexpr,
        CHANNELS: tl.constexpr, CHUNKS, BLOCKS: tl.constexpr, ROWS: tl.constexpr, TILE: tl.constexpr,
        WIDTH: tl.constexpr,
    ):  # fmt: skip
        """Sum and sum of squares over some pixels of an image, for some of the SOURCE channels."""
        program = tl.program_id(0)
        part = program // BLOCKS
        image = (part // CHUNKS).to(tl.int64)
        channel = (program % BLOCKS) * WIDTH + tl.arange(0, WIDTH)
        inside = channel < SOURCE
        extra = tl.zeros([WIDTH], tl.float32)
        if PLUS:
            extra += tl.load(plus + image * CHANNELS + channel, mask=inside, other=0.0).to(tl.float32)
        # Tiles are added up as they are: reducing each one would cost a round through shared memory.
        total = tl.zeros([TILE, WIDTH], tl.float32)
        squares = tl.zeros([TILE, WIDTH], tl.float32)
        for start in tl.static_range(0, ROWS, TILE):
            row = (part % CHUNKS) * ROWS + start + tl.arange(0, TILE)
            mask = (row[:, None] < count) & inside[None, :]
            values = tl.load(rows + (image * count + row[:, None]) * SOURCE + channel[None, :], mask=mask, other=0.0)
            values = tl.where(mask, values.to(tl.float32) + extra[None, :], 0.0)
            total += values
            squares += values * values
        target = sums + part.to(tl.int64) * CHANNELS + START + channel
        tl.store(target, tl.sum(total, axis=0), mask=inside)
        tl.store(target + second, tl.sum(squares, axis=0), mask=inside)

    @triton.jit
    def _affine(
        sums, plus, weight, bias, affine, count, eps, second, shifts, PLUS: tl.constexpr, CHANNELS: tl.constexpr,
        CHUNKS: tl.constexpr, GROUPS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Scale and shift of the channels of one group of one image."""
        program = tl.program_id(0)
        image = (program // GROUPS).to(tl.int64)
        lane = tl.arange(0, BLOCK)
        inside = lane < WIDTH
        channel = (program % GROUPS) * WIDTH + lane
        total = tl.zeros([16, BLOCK], tl.float32)
        squares = tl.zeros([16, BLOCK], tl.float32)
        for start in range(0, CHUNKS, 16):
            chunk = start + tl.arange(0, 16)
            mask = (chunk[:, None] < CHUNKS) & inside[None, :]
            source = sums + (image * CHUNKS + chunk[:, None]) * CHANNELS + channel[None, :]
            total += tl.load(source, mask=mask, other=0.0)
            squares += tl.load(source + second, mask=mask, other=0.0)
        number = 1.0 * count * WIDTH
        mean = tl.sum(total) / number
        variance = tl.maximum(tl.sum(squares) / number - mean * mean, 0.0)
        scale = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32) / tl.sqrt(variance + eps)
        shift = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32) - mean * scale
        if PLUS:
            shift += scale * tl.load(plus + image * CHANNELS + channel, mask=inside, other=0.0).to(tl.float32)
        tl.store(affine + image * CHANNELS + channel, scale, mask=inside)
        tl.store(affine + shifts + image * CHANNELS + channel, shift, mask=inside)

    @triton.jit
    def _apply(
        rows, affine, out, count, shifts, SILU: tl.constexpr, SOURCE: tl.constexpr, START: tl.constexpr,
        CHANNELS: tl.constexpr, CHUNKS, BLOCKS: tl.constexpr, ROWS: tl.constexpr, TILE: tl.constexpr,
        WIDTH: tl.constexpr,
    ):  # fmt: skip
        """Scale, shift and SiLU of some pixels of an image, for some of the SOURCE channels."""
        program = tl.program_id(0)
        part = program // BLOCKS
        image = (part // CHUNKS).to(tl.int64)
        channel = (program % BLOCKS) * WIDTH + tl.arange(0, WIDTH)
        inside = channel < SOURCE
        place = affine + image * CHANNELS + START + channel
        scale = tl.load(place, mask=inside, other=0.0)
        shift = tl.load(place + shifts, mask=inside, other=0.0)
        for start in tl.static_range(0, ROWS, TILE):
            row = (part % CHUNKS) * ROWS + start + tl.arange(0, TILE)
            mask = (row[:, None] < count) & inside[None, :]
            pixel = image * count + row[:, None]
            values = (
                tl.load(rows + pixel * SOURCE + channel[None, :], mask=mask, other=0.0).to(tl.float32) * scale[None, :]
                + shift[None, :]
            )
            if SILU:
                values = values / (1.0 + tl.exp(-values))
            tl.store(out + pixel * CHANNELS + START + channel[None, :], values.to(out.dtype.element_ty), mask=mask)
