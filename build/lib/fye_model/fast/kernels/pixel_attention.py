"""Attention over the pixels of each frame and of the portrait, without putting the two side by side in memory.

The largest single cost of a step: thousands of queries times twice as many keys, in heads of 40 or 80 channels that
general kernels compute as 64 or 128, with the portrait's keys and values copied behind those of every frame first.
Here, on a Hopper GPU, one kernel reads the frame's own rows and then the portrait's where they lie, multiplies queries
and keys over 48 channels for a head of 40, and lets three groups of warps take turns: one has the matrix unit while the
others exponentiate (after FlashAttention-3). Where it is `unsupported`, and for numbers of pixels that its tiles do not
divide, the same function is PyTorch's. The kernel is written in Gluon, the layer below Triton that it calls
experimental.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fye_model.fast.kernels.trial import HALF, draw, missing, not_hopper, tried

try:
    from triton.experimental import gluon
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.language.nvidia.hopper import (
        fence_async_shared,
        mbarrier,
        tma,
        warpgroup_mma,
        warpgroup_mma_wait,
    )
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor
except ImportError:  # no GPU build of PyTorch, or one without Gluon
    gluon = None

# Queries of a group of four warps, groups of a program (three are written out in the kernel), tiles of keys in flight.
_ROWS, _GROUPS, _STAGES = 64, 3, 4


def reference(
    qkv: Tensor, heads: int, key: Tensor | None, value: Tensor | None, alone: int, frames: int, both: bool = False
) -> Tensor:
    """Attend from qkv (b·f, n, 3c) to [own keys ; key (b or 1, m, c)], by PyTorch: (b·f, n, c).

    The first `alone` frames attend to their own keys only; for `both`, all do, and in a second half of the result none.
    """
    if both:
        qkv, alone = torch.cat([qkv, qkv]), len(qkv)
    query, own_key, own_value = qkv.chunk(3, dim=-1)
    parts = []
    if alone:
        parts.append(attend(query[:alone], own_key[:alone], own_value[:alone], heads))
    if alone < len(qkv):
        assert key is not None and value is not None
        keys, values = (
            torch.cat([own[alone:], _of_each_frame(shared, len(qkv) // frames, frames)[alone:]], dim=1)
            for own, shared in ((own_key, key), (own_value, value))
        )
        parts.append(attend(query[alone:], keys, values, heads))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _of_each_frame(shared: Tensor, items: int, frames: int) -> Tensor:
    """(b or 1, m, c) -> (b·f, m, c)."""
    return shared.expand(items, -1, -1).repeat_interleave(frames, 0)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """PyTorch's attention of (b, n, c) to (b, m, c) tokens, channels split into heads."""
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


@cache
def unsupported(device: torch.device, dtype: torch.dtype, heads: int, width: int) -> str | None:
    """Why the kernel is not used for heads of `width` channels; None where it is. Tries it, the first time."""
    if reason := missing(device, dtype, gluon, "Gluon") or not_hopper(device):
        return reason
    if not _has_tiles(width):
        return f"{width} channels a head, needs a multiple of 8 from 32 to 128"
    return _try(device, dtype, heads, width, False) or _try(device, dtype, heads, width, True)


def unfit(pixels: int, width: int) -> str | None:
    """Why the kernel leaves frames of so many pixels to PyTorch; None where it takes them."""
    tile = _tile(width)
    return None if pixels % tile == 0 else f"{pixels} pixels, needs a multiple of {tile}"


def pixel_attention(
    qkv: Tensor, heads: int, shared: tuple[Tensor, Tensor] | None = None, plain: int = 0, frames: int = 1
) -> Tensor:
    """Attend from qkv (b·f, n, 3c) to [own keys ; the reference's], or to the own ones alone: (b·f, n, c).

    `shared` holds keys and values (b or 1, m, c) of the reference, which an item's frames share; the first `plain`
    items go without.
    """
    alone = len(qkv) if shared is None else plain * frames
    key, value = (None, None) if shared is None else shared
    if not _fits(qkv, heads, key):
        return reference(qkv, heads, key, value, alone, frames)
    return attend_pixels(qkv.contiguous(), heads, key, value, alone, frames, both=False)


def attend_both_ways(qkv: Tensor, heads: int, shared: tuple[Tensor, Tensor]) -> Tensor:
    """Attend from the frames of one item (f, n, 3c), without the reference and with it: (2·f, n, c) in this order.

    What the halves of guidance share before their first attention is looked at once. Of several references the last
    one counts, that of the half which comes last.
    """
    key, value = (part[-1:] for part in shared)
    if not _fits(qkv, heads, key):
        return reference(qkv, heads, key, value, 0, len(qkv), both=True)
    return attend_pixels(qkv.contiguous(), heads, key, value, 0, len(qkv), both=True)


def _fits(qkv: Tensor, heads: int, key: Tensor | None) -> bool:
    """Whether the kernel can take this input, on a GPU that it runs on: whole tiles of keys in half precision."""
    width = qkv.shape[-1] // 3 // heads
    tile = _tile(width)
    whole = qkv.shape[1] % tile == 0 and (key is None or key.shape[1] % tile == 0)
    return gluon is not None and qkv.is_cuda and qkv.dtype in HALF and whole and _has_tiles(width)


def _has_tiles(width: int) -> bool:
    return width % 8 == 0 and 32 <= width <= 128


# An operator of its own: the compiler calls it as it is.
@torch.library.custom_op("fye::attend_pixels", mutates_args=())
def attend_pixels(
    qkv: Tensor, heads: int, key: Tensor | None, value: Tensor | None, alone: int, frames: int, both: bool
) -> Tensor:
    """`reference`, by the kernel, or by PyTorch where that is unsupported."""
    if unsupported(qkv.device, qkv.dtype, heads, qkv.shape[-1] // 3 // heads):
        return reference(qkv, heads, key, value, alone, frames, both)
    return _launch(qkv, heads, key, value, alone, frames, both)


@attend_pixels.register_fake
def _(qkv, heads, key, value, alone, frames, both):  # type: ignore[no-untyped-def]
    return qkv.new_empty((1 + both) * len(qkv), qkv.shape[1], qkv.shape[2] // 3)


def _parts(width: int) -> tuple[int, int]:
    """A head's channels as two powers of two: 40 as 32 + 16, 80 as 64 + 16, 64 as 32 + 32."""
    first = 1 << (width - 1).bit_length() - 1
    return first, max(16, 1 << (width - first - 1).bit_length())


def _tile(width: int) -> int:
    """Keys that are looked at together: as many as registers and shared memory hold."""
    return 128 if width <= 64 else 64


def _try(device: torch.device, dtype: torch.dtype, heads: int, width: int, both: bool) -> str | None:
    make, tokens, channels = draw(device, dtype), 2 * _tile(width), heads * width
    qkv = make(1, tokens, 3 * channels).expand(2, -1, -1).contiguous()
    key, value = make(1, tokens, channels), make(1, tokens, channels)
    given, alone = (qkv[:1], 0) if both else (qkv, 1)
    return tried(
        f"attention over pixels, heads of {width} channels,",
        lambda: _launch(given, heads, key, value, alone, 1, both),
        lambda: reference(qkv, heads, key, value, 1, 1),
    )


def _launch(
    qkv: Tensor, heads: int, key: Tensor | None, value: Tensor | None, alone: int, frames: int, both: bool
) -> Tensor:
    count, pixels, channels = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    width = channels // heads
    first, second = _parts(width)
    tile = _tile(width)
    out = qkv.new_empty((1 + both) * count, pixels, channels)
    dtype = gl.float16 if qkv.dtype == torch.float16 else gl.bfloat16
    layout = gl.NVMMASharedLayout.get_default_for([tile, 2 * first], dtype)

    def tiles(rows: Tensor) -> TensorDescriptor:
        rows = rows.contiguous().flatten(0, 1)
        return TensorDescriptor(rows, list(rows.shape), [rows.shape[1], 1], [tile, 2 * first], layout)

    blocks = -(-pixels // (_ROWS * _GROUPS))
    _attend_pixels[(blocks * heads * count,)](
        qkv,
        tiles(qkv),
        tiles(qkv if key is None else key),
        tiles(qkv if value is None else value),
        out,
        pixels,
        0 if key is None else key.shape[1],
        0 if key is None or len(key) == 1 else frames,
        alone,
        width**-0.5 * 1.4426950408889634,  # base 2 exponentials
        channels,
        heads,
        width,
        first,
        second,
        _ROWS,
        tile,
        _STAGES,
        both,
        num_warps=4,
    )
    return out


if gluon is not None:
    _barrier = getattr(gl, "thread_barrier", None) or gl.barrier  # renamed in Triton 3.7
    _fetch = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared  # in 3.8

    @gluon.jit
    def _produce(
        own, keys, values, own_row, reference_row, column, own_tiles, tiles, full, empty, key, value,
        CHANNELS: gl.constexpr, TILE: gl.constexpr, BOX: gl.constexpr, STAGES: gl.constexpr,
    ):  # fmt: skip
        """One warp: fetch tiles of keys and values, the frame's own first, as the consumers set buffers free."""
        for index in range(tiles):
            slot = index % STAGES
            mbarrier.wait(empty.index(slot), (index // STAGES & 1) ^ 1)
            ready = full.index(slot)
            mbarrier.expect(ready, 2 * 2 * TILE * BOX)
            if index < own_tiles:
                row = own_row + index * TILE
                _fetch(own, [row, CHANNELS + column], ready, key.index(slot))
                _fetch(own, [row, 2 * CHANNELS + column], ready, value.index(slot))
            else:
                row = reference_row + (index - own_tiles) * TILE
                _fetch(keys, [row, column], ready, key.index(slot))
                _fetch(values, [row, column], ready, value.index(slot))

    @gluon.jit
    def _scores(query, key, zero, FIRST: gl.constexpr, SECOND: gl.constexpr):
        """Start the product of queries and keys over the channels of a head; what lies behind them is left out."""
        keys_1 = key.slice(0, FIRST, 1).permute((1, 0))
        keys_2 = key.slice(FIRST, SECOND, 1).permute((1, 0))
        total = warpgroup_mma(query.slice(0, FIRST, 1), keys_1, zero, use_acc=False, is_async=True)
        return warpgroup_mma(query.slice(FIRST, SECOND, 1), keys_2, total, is_async=True)

    @gluon.jit
    def _consume(
        qkv, out, query, row, end, column, tiles, scale, full, empty, turn, next_turn, key, value,
        with_reference, own_tiles, CHANNELS: gl.constexpr, WIDTH: gl.constexpr, FIRST: gl.constexpr,
        SECOND: gl.constexpr, ROWS: gl.constexpr, TILE: gl.constexpr, STAGES: gl.constexpr, BOTH: gl.constexpr,
    ):  # fmt: skip
        """Four warps: the attention of some queries of one head. While others have the turn, exponentiate."""
        dtype: gl.constexpr = qkv.dtype.element_ty
        score_layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, TILE, 16])
        layout_1: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, FIRST, 16])
        layout_2: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, SECOND, 16])
        rows_1: gl.constexpr = gl.SliceLayout(1, layout_1)
        rows_2: gl.constexpr = gl.SliceLayout(1, layout_2)
        weights_1: gl.constexpr = gl.DotOperandLayout(0, layout_1, 2)
        weights_2: gl.constexpr = gl.DotOperandLayout(0, layout_2, 2)
        load_layout: gl.constexpr = gl.BlockedLayout([1, 8], [16, 2], [4, 1], [1, 0])

        place = (row + gl.arange(0, ROWS, gl.SliceLayout(1, load_layout))).to(gl.int64)
        lane = gl.arange(0, 2 * FIRST, gl.SliceLayout(0, load_layout))
        source = qkv + place[:, None] * (3 * CHANNELS) + column + lane[None, :]
        query.store(gl.load(source, mask=(place[:, None] < end) & (lane[None, :] < WIDTH), other=0.0))
        fence_async_shared()
        _barrier()

        zero = gl.zeros([ROWS, TILE], gl.float32, score_layout)
        out_1 = gl.zeros([ROWS, FIRST], gl.float32, layout_1)
        out_2 = gl.zeros([ROWS, SECOND], gl.float32, layout_2)
        mbarrier.wait(full.index(0), 0)
        mbarrier.wait(turn, 0)
        scores = _scores(query, key.index(0), zero, FIRST, SECOND)
        mbarrier.arrive(next_turn)
        scores = warpgroup_mma_wait(0, deps=[scores])
        largest = gl.max(scores, 1) * scale
        weights = gl.exp2(scores * scale - largest[:, None])
        total = gl.sum(weights, 1)
        rounded = weights.to(dtype)
        for index in range(1, tiles):
            slot = index % STAGES
            last = (index - 1) % STAGES
            mbarrier.wait(full.index(slot), index // STAGES & 1)
            mbarrier.wait(turn, index & 1)
            scores = _scores(query, key.index(slot), zero, FIRST, SECOND)
            values = value.index(last)
            sum_1 = warpgroup_mma(
                gl.convert_layout(rounded, weights_1), values.slice(0, FIRST, 1), out_1, is_async=True
            )
            sum_2 = warpgroup_mma(
                gl.convert_layout(rounded, weights_2), values.slice(FIRST, SECOND, 1), out_2, is_async=True
            )
            mbarrier.arrive(next_turn)
            scores = warpgroup_mma_wait(2, deps=[scores])
            before = largest
            largest = gl.maximum(before, gl.max(scores, 1) * scale)
            weights = gl.exp2(scores * scale - largest[:, None])
            shrink = gl.exp2(before - largest)
            so_far = total
            total = total * shrink + gl.sum(weights, 1)
            out_1, out_2 = warpgroup_mma_wait(0, deps=[sum_1, sum_2])
            mbarrier.arrive(empty.index(last))
            if BOTH:  # noqa: SIM102 - known when compiling, the other is not
                if index == own_tiles:
                    _store(out, out_1, so_far, row, end, column, 0, CHANNELS, WIDTH, ROWS, FIRST, layout_1)
                    _store(out, out_2, so_far, row, end, column, FIRST, CHANNELS, WIDTH, ROWS, SECOND, layout_2)
            out_1 = out_1 * gl.convert_layout(shrink, rows_1)[:, None]
            out_2 = out_2 * gl.convert_layout(shrink, rows_2)[:, None]
            rounded = weights.to(dtype)
        values = value.index((tiles - 1) % STAGES)
        out_1 = warpgroup_mma(gl.convert_layout(rounded, weights_1), values.slice(0, FIRST, 1), out_1)
        out_2 = warpgroup_mma(gl.convert_layout(rounded, weights_2), values.slice(FIRST, SECOND, 1), out_2)
        _store(with_reference, out_1, total, row, end, column, 0, CHANNELS, WIDTH, ROWS, FIRST, layout_1)
        _store(with_reference, out_2, total, row, end, column, FIRST, CHANNELS, WIDTH, ROWS, SECOND, layout_2)

    @gluon.jit
    def _store(
        out, values, total, row, end, column, START: gl.constexpr, CHANNELS: gl.constexpr, WIDTH: gl.constexpr,
        ROWS: gl.constexpr, PART: gl.constexpr, LAYOUT: gl.constexpr,
    ):  # fmt: skip
        """Write the PART channels of a head from START on, divided by the sum of the weights."""
        rows: gl.constexpr = gl.SliceLayout(1, LAYOUT)
        place = (row + gl.arange(0, ROWS, rows)).to(gl.int64)
        lane = START + gl.arange(0, PART, gl.SliceLayout(0, LAYOUT))
        values = (values / gl.convert_layout(total, rows)[:, None]).to(out.dtype.element_ty)
        mask = (place[:, None] < end) & (lane[None, :] < WIDTH)
        gl.store(out + place[:, None] * CHANNELS + column + lane[None, :], values, mask=mask)

    @gluon.jit
    def _attend_pixels(
        qkv, own, keys, values, out, pixels, reference_pixels, frames, alone, scale, CHANNELS: gl.constexpr,
        HEADS: gl.constexpr, WIDTH: gl.constexpr, FIRST: gl.constexpr, SECOND: gl.constexpr, ROWS: gl.constexpr,
        TILE: gl.constexpr, STAGES: gl.constexpr, BOTH: gl.constexpr,
    ):  # fmt: skip
        """One program: 192 queries of one head of one frame, the frames with the most keys first."""
        dtype: gl.constexpr = qkv.dtype.element_ty
        block: gl.constexpr = 3 * ROWS
        program = gl.program_id(0)
        blocks = (pixels + block - 1) // block
        frame = gl.num_programs(0) // (blocks * HEADS) - 1 - program // (blocks * HEADS)
        column = program // blocks % HEADS * WIDTH
        own_row = frame * pixels
        row = own_row + program % blocks * block
        end = own_row + pixels
        with_reference = out
        if BOTH:
            with_reference += (gl.num_programs(0) // (blocks * HEADS)).to(gl.int64) * pixels * CHANNELS
        own_tiles = pixels // TILE
        tiles = own_tiles
        reference_row = 0
        if frame >= alone:
            tiles += reference_pixels // TILE
            if frames > 0:  # a reference for every item
                reference_row += frame // frames * reference_pixels

        box: gl.constexpr = 2 * FIRST
        queries: gl.constexpr = gl.NVMMASharedLayout.get_default_for([ROWS, box], dtype)
        query = gl.allocate_shared_memory(dtype, [3, ROWS, box], queries)
        key = gl.allocate_shared_memory(dtype, [STAGES, TILE, box], own.layout)
        value = gl.allocate_shared_memory(dtype, [STAGES, TILE, box], own.layout)
        full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
        empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
        turn = gl.allocate_shared_memory(gl.int64, [3, 1], mbarrier.MBarrierLayout())
        for slot in gl.static_range(STAGES):
            mbarrier.init(full.index(slot), count=1)
            mbarrier.init(empty.index(slot), count=3)
        for group in gl.static_range(3):
            mbarrier.init(turn.index(group), count=1)
        fence_async_shared()
        _barrier()
        mbarrier.arrive(turn.index(0))
        gl.warp_specialize(
            [
                (_consume, (qkv, out, query.index(0), row, end, column, tiles, scale, full, empty, turn.index(0),
                            turn.index(1), key, value, with_reference, own_tiles, CHANNELS, WIDTH, FIRST, SECOND, ROWS,
                            TILE, STAGES, BOTH)),
                (_consume, (qkv, out, query.index(1), row + ROWS, end, column, tiles, scale, full, empty, turn.index(1),
                            turn.index(2), key, value, with_reference, own_tiles, CHANNELS, WIDTH, FIRST, SECOND, ROWS,
                            TILE, STAGES, BOTH)),
                (_consume, (qkv, out, query.index(2), row + 2 * ROWS, end, column, tiles, scale, full, empty,
                            turn.index(2), turn.index(0), key, value, with_reference, own_tiles, CHANNELS, WIDTH, FIRST,
                            SECOND, ROWS, TILE, STAGES, BOTH)),
                (_produce, (own, keys, values, own_row, reference_row, column, own_tiles, tiles, full, empty, key,
                            value, CHANNELS, TILE, box, STAGES)),
            ],
            [4, 4, 1],
            [160, 160, 24],  # registers a thread; the first group gets what is left
        )  # fmt: skip
