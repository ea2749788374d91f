"""Fast spatial transformers and motion modules, each around the plain one that it stands for.

- Query, key and value of an attention are one matrix product; a frame's pixels and the portrait's are attended to
  where they lie (`kernels.pixel_attention`).
- Motion modules keep the layout of the convolutions (frame, pixel, channel) and attend across it
  (`kernels.frame_attention`).
- Cross-attention to a few image-prompt tokens is folded into two thin matrices, once per video: scores are
  x (Wq^T k), the output is (v Wo) weighted.
- The gated feed-forward never writes its gates (`kernels.gated`), and all that comes behind them is one product
  (`kernels.feed_forward`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn

from fye_model.fast.blocks import FastBlock, FastResnet, image, tokens_of
from fye_model.fast.kernels import feed_forward, pixel_attention
from fye_model.fast.kernels.frame_attention import frame_attention
from fye_model.fast.kernels.group_norm import group_norm
from fye_model.networks.attention import KeyValue, SpatialTransformer
from fye_model.networks.denoiser import LayerCalls

log = logging.getLogger(__name__)


class FoldedContext(NamedTuple):
    """Cross-attention to m tokens as two matrices: `scores` (b, c, heads·m) and `values` (b, heads·m, c)."""

    scores: Tensor
    values: Tensor


class FastTransformer(FastBlock):
    """What both kinds share: one block, projections around it, and a feed-forward that ends in one product."""

    norm: Any
    proj_in: Any
    proj_out: Any
    transformer_blocks: Any
    tail_weight: Tensor
    compiled = False

    def __init__(self, plain: Any) -> None:
        super().__init__(plain)
        if len(plain.transformer_blocks) != 1:
            raise ValueError(
                f"{type(plain).__name__} has {len(plain.transformer_blocks)} blocks; make_fast expects one"
            )
        self.derive("tail_weight", feed_forward.tail_weight(plain.proj_out, self.block.ff.net[2]))

    @property
    def block(self) -> Any:
        """The one transformer block."""
        return self.transformer_blocks[0]

    def part(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A part of the work, compiled if that was asked for; what is overwritten in place stays outside of it."""
        return _compiled(function) if self.compiled else function

    def finish(self, hidden: Tensor, tokens: Tensor, added: Tensor, bias: Tensor | None) -> Tensor:
        """The feed-forward and the projection behind it, added to the transformer's input (b·f, c, h, w)."""
        gates = self.block.ff.net[0]
        sizes = tokens.shape[-1], len(gates.paired_weight) // 2
        function = feed_forward.in_place
        if feed_forward.unsupported(tokens.device, tokens.dtype, *sizes):
            function = self.part(feed_forward.reference)
        out = function(tokens_of(hidden), tokens, added, bias, self.block.norm3, gates, self.tail_weight)
        return image(out, hidden)


class FastSpatialTransformer(FastTransformer):
    """`SpatialTransformer` with fused projections and folded cross-attention."""

    qkv_weight: Tensor

    def __init__(self, plain: SpatialTransformer) -> None:
        if plain.use_linear_projection:
            raise ValueError(
                "make_fast expects spatial transformers with 1x1 convolutions around them, not linear layers"
            )
        super().__init__(plain)
        self.position = plain.position
        self.derive("qkv_weight", _fused(self.block.attn1))

    def project_reference(self, tokens: Tensor) -> KeyValue:
        """As `SpatialTransformer.project_reference`."""
        return self.plain.project_reference(tokens)

    def project_context(self, tokens: Tensor) -> KeyValue | FoldedContext:
        """Fold the image prompt (b, m, c) into the layer's weights where that is less work than attending to it."""
        plain = self.plain.project_context(tokens)
        attention = self.block.attn2
        heads, channels = attention.heads, plain.key.shape[-1]
        if heads * tokens.shape[1] > channels:
            return plain
        wide = torch.promote_types(tokens.dtype, torch.float32)
        key, value = (x.to(wide).unflatten(-1, (heads, -1)) for x in plain)  # (b, m, heads, d)
        query_weight = attention.to_q.weight.to(wide).unflatten(0, (heads, -1))  # (heads, d, c)
        out_weight = attention.to_out[0].weight.to(wide).unflatten(1, (heads, -1))  # (c, heads, d)
        scale = query_weight.shape[1] ** -0.5
        scores = torch.einsum("bmhd,hdc->bchm", key, query_weight).flatten(2) * scale
        values = torch.einsum("bmhd,chd->bhmc", value, out_weight).flatten(1, 2)
        return FoldedContext(scores.to(tokens.dtype), values.to(tokens.dtype))

    def forward(
        self,
        hidden: Tensor,
        context: KeyValue | FoldedContext,
        reference: KeyValue | None = None,
        plain: int | Tensor = 0,
        frames: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """As `SpatialTransformer.forward`; `plain` is a number. `hidden` of one item stands for all of `context`.

        On a GPU `hidden` may be overwritten by the result.
        """
        assert isinstance(plain, int), "the fast path takes the number of plain items, which come first"
        if hidden.is_cuda:
            _say_unfit(hidden.shape[-2] * hidden.shape[-1], hidden.shape[1] // self.block.attn1.heads)
        items = len(context[0])
        shared = len(hidden) < items * frames
        if shared and (items, plain, reference is None) != (2, 1, False):
            shared = False  # only a plain item and one with the reference share their attention
            hidden = torch.cat([hidden] * items)
        body = self.part(FastSpatialTransformer._body)
        tokens, added, normed = body(self, hidden, context, reference, plain, frames, shared)
        if shared:
            hidden = torch.cat([hidden] * items)
        bias = self.block.attn2.to_out[0].bias if isinstance(context, FoldedContext) else None
        return self.finish(hidden, tokens, added, bias), normed

    def _body(
        self, hidden: Tensor, context: Any, reference: KeyValue | None, plain: int, frames: int, shared: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The block up to its feed-forward: tokens, what the cross-attention adds, and the self-attention's input."""
        block = self.block
        tokens = tokens_of(self.norm(hidden))
        tokens = F.linear(tokens, self.proj_in.weight.flatten(1), self.proj_in.bias)
        normed = block.norm1(tokens)
        tokens = _plus(self._self_attention(normed, reference, plain, frames, shared), tokens)
        return tokens, self._cross_attention(block.norm2(tokens), context), normed

    def _self_attention(
        self, normed: Tensor, reference: KeyValue | None, plain: int, frames: int, shared: bool
    ) -> Tensor:
        """Attention of (b·f, n, c), the first `plain` items without the reference; of what two share, both ways."""
        attention = self.block.attn1
        qkv = F.linear(normed, self.qkv_weight)
        if shared:
            assert reference is not None
            return attention.to_out[0](pixel_attention.attend_both_ways(qkv, attention.heads, reference))
        return attention.to_out[0](pixel_attention.pixel_attention(qkv, attention.heads, reference, plain, frames))

    def _cross_attention(self, normed: Tensor, context: KeyValue | FoldedContext) -> Tensor:
        attention = self.block.attn2
        items = len(context[0])
        tokens = normed.reshape(items, -1, normed.shape[-1])
        if isinstance(context, FoldedContext):
            scores = torch.bmm(tokens, context.scores).unflatten(-1, (attention.heads, -1))
            weights = scores.softmax(-1, torch.promote_types(scores.dtype, torch.float32)).to(tokens.dtype).flatten(2)
            return torch.bmm(weights, context.values).reshape(normed.shape)  # its bias is added in the end
        out = pixel_attention.attend(attention.to_q(tokens), context.key, context.value, attention.heads)
        return attention.to_out[0](out).reshape(normed.shape)


class FastMotionModule(FastTransformer):
    """`AnimateDiffTransformer3D` of one block with two self-attentions, in the layout of the convolutions."""

    qkv_weight: Tensor
    qkv_weight_2: Tensor

    def __init__(self, plain: AnimateDiffTransformer3D) -> None:
        super().__init__(plain)
        self.derive("qkv_weight", _fused(self.block.attn1))
        self.derive("qkv_weight_2", _fused(self.block.attn2))

    def forward(self, hidden: Tensor, num_frames: int = 1, **_: Any) -> Tensor:
        """Map (b·f, c, h, w) to the same shape. On a GPU `hidden` may be overwritten by the result."""
        tokens, added = self.part(FastMotionModule._body)(self, hidden, num_frames)
        return self.finish(hidden, tokens, added, None)

    def _body(self, hidden: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        """The block up to its feed-forward: tokens and what the last attention adds, both (b·f, n, c)."""
        (block,) = self.transformer_blocks
        tokens = self.proj_in(tokens_of(group_norm(hidden, self.norm))).unflatten(0, (-1, num_frames))  # (b, f, n, c)
        place = block.pos_embed.pe[:, :num_frames, None].to(tokens.dtype)

        def attended(norm: nn.Module, attention: Any, weight: Tensor) -> Tensor:
            qkv = F.linear(norm(tokens) + place, weight)
            return attention.to_out[0](frame_attention(qkv, attention.heads))

        tokens = tokens + attended(block.norm1, block.attn1, self.qkv_weight)
        added = attended(block.norm2, block.attn2, self.qkv_weight_2)
        return tokens.flatten(0, 1), added.flatten(0, 1)


class FastCalls(LayerCalls):
    """How a denoiser calls fast blocks, which read a skip connection beside their input and share what items share."""

    def resnet(self, resnet: nn.Module, hidden: Tensor, temb: Tensor, skip: Tensor | None) -> Tensor:
        """As `LayerCalls.resnet`, without joining the two in memory."""
        if isinstance(resnet, FastResnet):
            return resnet(hidden, temb[: len(hidden)], skip)
        return super().resnet(resnet, hidden, temb, skip)

    def transformer(
        self,
        transformer: Any,
        hidden: Tensor,
        items: int,
        context: Any,
        reference: KeyValue | None,
        plain: int | Tensor,
        frames: int,
    ) -> Tensor:
        """As `LayerCalls.transformer`; what items share stays shared as long as it can."""
        return transformer(hidden, context, reference, plain, frames)[0]


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=False)


@cache
def _say_unfit(pixels: int, width: int) -> None:
    """Say once per size that the attention over so many pixels is PyTorch's."""
    if reason := pixel_attention.unfit(pixels, width):
        log.info("attention over pixels left to PyTorch: %s", reason)


def _fused(attention: Any) -> Tensor:
    """The three projections as one matrix (3c, c)."""
    return torch.cat([attention.to_q.weight, attention.to_k.weight, attention.to_v.weight])


def _plus(x: Tensor, shared: Tensor) -> Tensor:
    """x (b·n, ...) + what all b share (n, ...)."""
    return (x.unflatten(0, (-1, len(shared))) + shared).flatten(0, 1)
