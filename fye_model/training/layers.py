"""The networks' layers as a training step runs them on a GPU: the same weights and function, fewer passes.

Each layer here wraps a plain one and uses its parameters. `lay_out` puts them into a working copy of the networks:
images stay channels-last, so that convolutions need no turning and tokens are views of them; norms take SiLU, time
embedding and bias with them; motion modules leave the frame axis where it is. On the CPU every kernel has its plain
counterpart, so that the layers can be compared with the ones that they wrap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from fye_model.networks.attention import KeyValue, SpatialTransformer, project
from fye_model.training.kernels import linear as biased
from fye_model.training.kernels.elementwise import add_bias, gated, join
from fye_model.training.kernels.frame_attention import frame_attention
from fye_model.training.kernels.group_norm import group_norm
from fye_model.training.kernels.residual_norm import residual_norm


@dataclass(frozen=True)
class Savings:
    """Which passes the layers do without, beyond what all of them do. Each alone leaves the function what it is.

    All of them pay on a card (`tests/benchmarks/train_step.py`); they can be told apart so that each can be measured.
    """

    norms: bool = True  # a residual sum and the LayerNorm behind it are one kernel
    sums: bool = True  # gradients of biases are summed by kernels of their own
    tokens: bool = True  # attention to few tokens has its projections multiplied into keys and values
    enlarge: bool = True  # enlargement and convolution are one convolution, with 4 taps a pixel instead of 9


ALL = Savings()
NONE = Savings(norms=False, sums=False, tokens=False, enlarge=False)

# Output pixel 2i reads pixels i - 1 (by tap 3) and i (tap 1) of the smaller image, 2i + 1 reads i (2) and i + 1 (0).
_TAPS = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


class Added(NamedTuple):
    """What a layer adds to its tokens, (..., c); a bias (c,) that is still to be added to it, or None."""

    rows: Tensor
    bias: Tensor | None


class TrainingResnet(nn.Module):
    """A UNet's resnet; both biases of its convolutions go where another kernel passes over the image anyway."""

    def __init__(self, plain: ResnetBlock2D, savings: Savings = ALL) -> None:
        super().__init__()
        self.plain: Any = plain
        self.savings = savings

    def forward(self, hidden: Tensor, temb: Tensor | None = None) -> Tensor:
        """(n, c, h, w), with a time embedding (n, t) where the layer takes one, to (n, c', h, w)."""
        plain = self.plain
        side = hidden.shape[-2:]
        inner = group_norm(hidden, plain.norm1, silu=True)
        inner = F.conv2d(inner, plain.conv1.weight, None, padding=1)
        if plain.time_emb_proj is None or temb is None:  # of an autoencoder
            time = plain.conv1.bias.expand(len(hidden), -1)
        else:
            time = plain.time_emb_proj(F.silu(temb)) + plain.conv1.bias
        inner = group_norm(inner, plain.norm2, silu=True, added=time)
        inner = F.conv2d(inner, plain.conv2.weight, None, padding=1)
        residual = to_rows(hidden)
        if plain.conv_shortcut is not None:
            residual = pointwise(residual, plain.conv_shortcut, self.savings)
        return to_image(add_bias(to_rows(inner), plain.conv2.bias, residual, self.savings.sums), side)


class TrainingTransformer(nn.Module):
    """A spatial transformer, with the interface of `SpatialTransformer`.

    Where a clip has one frame (stage 1), the reference's tokens are joined to the frame's before the projection to
    keys and values instead of behind it: one join instead of two, and one product for both.
    """

    def __init__(self, plain: SpatialTransformer, savings: Savings = ALL) -> None:
        super().__init__()
        self.plain = plain
        self.savings = savings

    @property
    def position(self) -> int:
        return self.plain.position

    @property
    def proj_out(self) -> nn.Module | None:
        out: nn.Module | None = self.plain.proj_out
        return out

    def project_context(self, tokens: Tensor) -> KeyValue:
        """See `SpatialTransformer`."""
        return self.plain.project_context(tokens)

    def project_reference(self, tokens: Tensor) -> KeyValue:
        """The tokens themselves: whether they are projected before or behind the join, `forward` knows."""
        return KeyValue(tokens, tokens)

    def reference_tokens(self, hidden: Tensor) -> Tensor:
        """See `SpatialTransformer`."""
        normed: Tensor = self.plain.block.norm1(self._enter(hidden))
        return normed

    def forward(
        self,
        hidden: Tensor,
        context: KeyValue,
        reference: KeyValue | None = None,
        plain: int | Tensor = 0,
        frames: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """See `SpatialTransformer`; `reference` holds tokens, and an item that is plain is one marked in a tensor."""
        block, savings = self.plain.block, self.savings
        tokens, first = add_and_norm(self._enter(hidden), None, block.norm1, savings)
        mixed = self._attend_to_reference(block.attn1, first, reference, plain, frames)
        tokens, normed = add_and_norm(tokens, _leave(block.attn1, mixed, savings), block.norm2, savings)
        prompted = _attend_to_context(block.attn2, normed, context, savings)
        tokens, normed = add_and_norm(tokens, prompted, block.norm3, savings)
        tokens = add_feed_forward(tokens, block.ff, normed, savings)
        return self._exit(hidden, tokens), first

    def _enter(self, hidden: Tensor) -> Tensor:
        return pointwise(to_rows(group_norm(hidden, self.plain.norm)), self.plain.proj_in, self.savings)

    def _exit(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        out, rows = self.plain.proj_out, to_rows(hidden)
        if self.savings.sums:
            rows = add_bias(F.linear(tokens, out.weight.flatten(1)), out.bias, rows, True)
        else:
            rows = rows + pointwise(tokens, out, self.savings)
        return to_image(rows, hidden.shape[-2:])

    def _attend_to_reference(
        self, attention: Attention, normed: Tensor, reference: KeyValue | None, plain: int | Tensor, frames: int
    ) -> Tensor:
        query = attention.to_q(normed)
        if reference is None:
            return _mix(attention, query, *project(attention, normed))
        alone = plain if isinstance(plain, Tensor) else _first(plain, len(reference.key), normed)
        if frames == 1:
            key, value = project(attention, join(normed, reference.key, alone, 1))
        else:
            own, shared = project(attention, normed), project(attention, reference.key)
            key, value = (join(x, y, alone, frames) for x, y in zip(own, shared, strict=True))
        return _mix(attention, query, key, value)


class TrainingMotion(nn.Module):
    """A motion module on (frame, pixel, channel) as the image layers leave it; the frame axis is not moved."""

    def __init__(self, plain: AnimateDiffTransformer3D, savings: Savings = ALL) -> None:
        super().__init__()
        self.plain = plain
        self.savings = savings

    def forward(self, hidden: Tensor, num_frames: int) -> Tensor:
        """(b·f, c, h, w) to the same shape."""
        plain: Any = self.plain
        savings = self.savings
        tokens = to_rows(group_norm(hidden, plain.norm)).unflatten(0, (-1, num_frames))  # (b, f, n, c)
        tokens = pointwise(tokens, plain.proj_in, savings)
        for block in plain.transformer_blocks:
            place = block.pos_embed.pe[0, :num_frames, None]
            tokens, normed = add_and_norm(tokens, None, block.norm1, savings)
            for attention, norm in ((block.attn1, block.norm2), (block.attn2, block.norm3)):
                weight = torch.cat([attention.to_q.weight, attention.to_k.weight, attention.to_v.weight])
                mixed = frame_attention(F.linear(normed + place, weight), attention.heads)
                tokens, normed = add_and_norm(tokens, _leave(attention, mixed, savings), norm, savings)
            tokens = add_feed_forward(tokens, block.ff, normed, savings)
        rows = to_rows(hidden)
        if savings.sums:
            rows = add_bias(F.linear(tokens, plain.proj_out.weight).flatten(0, 1), plain.proj_out.bias, rows, True)
        else:
            rows = rows + plain.proj_out(tokens).flatten(0, 1)
        return to_image(rows, hidden.shape[-2:])


class TrainingUpsampler(nn.Module):
    """Nearest-neighbour enlargement and a convolution; diffusers' turns large batches to channels-first."""

    taps: Tensor

    def __init__(self, plain: Upsample2D, savings: Savings = ALL) -> None:
        super().__init__()
        self.plain = plain
        self.savings = savings
        weight: Tensor = plain.conv.weight  # type: ignore[union-attr, assignment]
        self.register_buffer("taps", torch.tensor(_TAPS, device=weight.device, dtype=weight.dtype), persistent=False)

    def forward(self, hidden: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(n, c, h, w) to (n, c, h', w'): `size`, or twice as large."""
        height, width = hidden.shape[-2:]
        convolution: Any = self.plain.conv
        doubled = size is None or tuple(size) == (2 * height, 2 * width)
        if doubled and self.savings.enlarge:
            return enlarge(hidden, convolution, self.taps)
        if doubled:
            # a view for the copy to read; its backward pass is a sum
            rows = hidden.permute(0, 2, 3, 1)[:, :, None, :, None].expand(-1, -1, 2, -1, 2, -1)
            large = rows.reshape(len(hidden), 2 * height, 2 * width, -1).permute(0, 3, 1, 2)
        else:
            large = F.interpolate(hidden, size=size, mode="nearest")
        out: Tensor = convolution(large)
        return out


class TrainingNorm(nn.Module):
    """A GroupNorm by itself."""

    def __init__(self, plain: nn.GroupNorm) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, hidden: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape."""
        return group_norm(hidden, self.plain)


_WRAPPERS: tuple[tuple[type[nn.Module], Any], ...] = (
    (ResnetBlock2D, TrainingResnet),
    (SpatialTransformer, TrainingTransformer),
    (AnimateDiffTransformer3D, TrainingMotion),
    (Upsample2D, TrainingUpsampler),
)


def lay_out(networks: nn.Module, savings: Savings = ALL) -> int:
    """Put the layers above in place of the plain ones, in place; returns how many. Parameters stay what they are.

    Meant for a working copy: the names in its state dict change.
    """
    replaced = 0
    for module in list(networks.modules()):
        for name, child in list(module.named_children()):
            for plain, wrapper in _WRAPPERS:
                if isinstance(child, plain):
                    setattr(module, name, wrapper(child, savings))
                    replaced += 1
            if name == "conv_norm_out" and isinstance(child, nn.GroupNorm):
                setattr(module, name, TrainingNorm(child))
                replaced += 1
    return replaced


def to_rows(image: Tensor) -> Tensor:
    """(n, c, h, w) to (n, h·w, c): a view where the image is channels-last."""
    return image.permute(0, 2, 3, 1).flatten(1, 2)


def to_image(rows: Tensor, side: torch.Size) -> Tensor:
    """(n, h·w, c) to a channels-last (n, c, h, w)."""
    return rows.reshape(len(rows), *side, -1).permute(0, 3, 1, 2)


def pointwise(rows: Tensor, layer: Any, savings: Savings) -> Tensor:
    """A 1x1 convolution or linear layer on rows (n, h·w, c), as a matrix product."""
    product = biased.linear if savings.sums else F.linear
    out: Tensor = product(rows, layer.weight.flatten(1), layer.bias)
    return out


def add_and_norm(tokens: Tensor, added: Added | None, norm: nn.LayerNorm, savings: Savings) -> tuple[Tensor, Tensor]:
    """The sum of tokens (..., c) and what a layer adds to them, and its LayerNorm."""
    if savings.norms:
        rows, bias = (None, None) if added is None else added
        return residual_norm(tokens, rows, bias, norm)
    if added is not None:
        tokens = tokens + (added.rows if added.bias is None else added.rows + added.bias)
    return tokens, norm(tokens)


def add_feed_forward(tokens: Tensor, layer: Any, normed: Tensor, savings: Savings) -> Tensor:
    """tokens and diffusers' gated feed-forward layer of the normed ones."""
    enter, leave = layer.net[0].proj, layer.net[2]
    if not savings.sums:
        out: Tensor = tokens + leave(gated(enter(normed)))
        return out
    inner = biased.gated(F.linear(normed, enter.weight), enter.bias)
    return add_bias(F.linear(inner, leave.weight), leave.bias, tokens, True)


def enlarge(hidden: Tensor, convolution: nn.Conv2d, sums: Tensor) -> Tensor:
    """Nearest-neighbour enlargement to twice the size and a 3x3 convolution: (n, c, h, w) to (n, c', 2h, 2w).

    Of the nine pixels that the convolution reads there, no more than four differ. So it is a transposed convolution
    of 4x4 taps and stride 2, whose taps are sums of the nine: `sums` (4, 3) says of which, along either axis.
    """
    taps = torch.einsum("yi,xj,ocij->coyx", sums, sums, convolution.weight)
    taps = taps.contiguous(memory_format=torch.channels_last)
    return F.conv_transpose2d(hidden, taps, convolution.bias, stride=2, padding=1)


def _attend_to_context(attention: Any, tokens: Tensor, context: KeyValue, savings: Savings) -> Added:
    """What cross-attention from tokens (b·f, n, c) to a context (b, m, c) adds to them."""
    items, count, width = context.key.shape
    if savings.tokens and attention.heads * count <= width // 2:
        return _attend_to_few(attention, tokens, context)
    query = attention.to_q(tokens).reshape(items, -1, width)
    return _leave(attention, _mix(attention, query, *context).reshape(tokens.shape), savings)


def _attend_to_few(attention: Any, tokens: Tensor, context: KeyValue) -> Added:
    """The same where heads times context tokens are fewer than channels.

    Query and output projections are multiplied into the few keys and values instead of the many tokens.
    """
    heads = attention.heads
    items, count, _ = context.key.shape

    def folded(x: Tensor, weight: Tensor) -> Tensor:  # x (b, m, c), weight (heads, c / heads, d) -> (b, heads * m, d)
        by_head = x.unflatten(-1, (heads, -1)).permute(2, 0, 1, 3).flatten(1, 2)
        product: Tensor = (by_head @ weight).unflatten(1, (items, count))
        return product.transpose(0, 1).flatten(1, 2)

    scale = float(attention.to_q.weight.shape[0] // heads) ** -0.5
    out = attention.to_out[0]
    keys = folded(context.key * scale, attention.to_q.weight.unflatten(0, (heads, -1)))
    values = folded(context.value, out.weight.t().unflatten(0, (heads, -1)))
    scores = tokens.reshape(items, -1, tokens.shape[-1]) @ keys.transpose(1, 2)
    shares = scores.unflatten(-1, (heads, count)).softmax(-1).flatten(2)
    return Added((shares @ values).reshape(tokens.shape), out.bias)


def _mix(attention: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = (x.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def _leave(attention: Any, mixed: Tensor, savings: Savings) -> Added:
    """The output projection of an attention layer; its bias is left to who adds it where that saves a pass."""
    out = attention.to_out[0]
    if savings.norms:
        return Added(F.linear(mixed, out.weight), out.bias)
    return Added(pointwise(mixed, out, savings), None)


def _first(count: int, items: int, like: Tensor) -> Tensor | None:
    """The first `count` of the items marked; None for none."""
    return None if count == 0 else torch.arange(items, device=like.device) < count
