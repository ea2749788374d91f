"""Spatial attention of both networks: diffusers' `Transformer2DModel` that reads a reference too.

Two of the adaptations that make diffusers' UNets the method's networks live here: self-attention over
[own tokens ; reference tokens], plain for unconditional items, and the recording of the reference tokens themselves.
The third thing is economy: whatever all frames of a video share (image prompt, reference) is projected to keys and
values once per video, not once per frame, and may be kept over the sampling steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn


class KeyValue(NamedTuple):
    """Keys and values of one attention layer, each (b, tokens, channels), before the split into heads."""

    key: Tensor
    value: Tensor


def project(attention: Attention, tokens: Tensor) -> KeyValue:
    """Keys and values of `tokens` (b, n, c) by the layer's own weights."""
    return KeyValue(attention.to_k(tokens), attention.to_v(tokens))


class SpatialTransformer(Transformer2DModel):
    """A UNet's spatial transformer that can look at a reference, and returns the tokens that its self-attention saw.

    diffusers builds it (as `Transformer2DModel`) and `specialise` gives it this forward, so weights and names are
    theirs. Only the Stable Diffusion 1.x shape is handled: one block, layer norms, no masks.
    """

    position: int  # among the UNet's spatial transformers, in running order
    proj_out: Any  # None at the end of the appearance net

    @property
    def block(self) -> Any:
        """The one transformer block."""
        return self.transformer_blocks[0]

    def project_context(self, tokens: Tensor) -> KeyValue:
        """Keys and values of image-prompt tokens (b, m, c) for the cross-attention."""
        return project(self.block.attn2, tokens)

    def project_reference(self, tokens: Tensor) -> KeyValue:
        """Keys and values of a reference's tokens (b, n, c) by the self-attention's own layers. [release]"""
        return project(self.block.attn1, tokens)

    def forward(  # type: ignore[override]
        self,
        hidden: Tensor,
        context: KeyValue,
        reference: KeyValue | None = None,
        plain: int | Tensor = 0,
        frames: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Map (b·f, c, h, w) to the same shape; also return the self-attention's input tokens (b·f, h·w, c).

        `context` holds the image prompt (b, m, c), `reference` the reference's tokens (b or 1, n, c). `plain` says
        which items attend to themselves alone: an int the first ones, a bool tensor (b,) those that it marks.
        """
        height, width = hidden.shape[-2:]
        tokens = self.enter(hidden)
        block = self.block
        normed = block.norm1(tokens)
        tokens = tokens + self_attention(block.attn1, normed, reference, plain, frames)
        tokens = tokens + cross_attention(block.attn2, block.norm2(tokens), context)
        tokens = tokens + block.ff(block.norm3(tokens))
        tokens = tokens.unflatten(1, (height, width))
        if self.use_linear_projection:
            return hidden + self.proj_out(tokens).permute(0, 3, 1, 2), normed
        return hidden + self.proj_out(tokens.permute(0, 3, 1, 2)), normed

    def enter(self, hidden: Tensor) -> Tensor:
        """Normalise and project (b, c, h, w) to tokens (b, h·w, c)."""
        hidden = self.norm(hidden)
        if not self.use_linear_projection:
            hidden = self.proj_in(hidden)
        tokens = hidden.permute(0, 2, 3, 1).flatten(1, 2)
        return self.proj_in(tokens) if self.use_linear_projection else tokens

    def reference_tokens(self, hidden: Tensor) -> Tensor:
        """What the self-attention would see, (b, h·w, c), without running it: the end of the appearance net."""
        return self.block.norm1(self.enter(hidden))


def specialise(unet: nn.Module) -> int:
    """Give every `Transformer2DModel` of a UNet the forward above and its position; return how many there are."""
    for module in unet.modules():
        if isinstance(module, Transformer2DModel):
            module.__class__ = SpatialTransformer
    found = transformers(unet)
    for position, transformer in enumerate(found):
        transformer.position = position
    return len(found)


def transformers(unet: nn.Module) -> list[SpatialTransformer]:
    """The spatial transformers of a specialised UNet in the order in which they run: down, middle, up."""
    levels = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]  # type: ignore[misc]
    return [transformer for level in levels for transformer in getattr(level, "attentions", [])]


def self_attention(
    attention: Attention, tokens: Tensor, reference: KeyValue | None, plain: int | Tensor, frames: int
) -> Tensor:
    """Attend from tokens (b·f, n, c) to [own ; reference], or to the own ones alone where `plain` says so."""
    query, (key, value) = attention.to_q(tokens), project(attention, tokens)
    if reference is None:
        return _attend(attention, query, key, value)
    if isinstance(plain, Tensor):
        # A softmax over every key twice is the softmax over the keys: plain attention without a mask and without a
        # branch on data, which would keep fast kernels and one compiled graph from being used.
        keys, values = (
            _beside(own, shared, frames, plain) for own, shared in zip((key, value), reference, strict=True)
        )
        return _attend(attention, query, keys, values)
    first = plain * frames
    items = tokens.shape[0] // frames
    keys, values = (
        _beside(own[first:], shared.expand(items, -1, -1)[plain:], frames)
        for own, shared in zip((key, value), reference, strict=True)
    )
    guided = _attend(attention, query[first:], keys, values)
    if not plain:
        return guided
    return torch.cat([_attend(attention, query[:first], key[:first], value[:first]), guided])


def cross_attention(attention: Attention, tokens: Tensor, context: KeyValue) -> Tensor:
    """Attend from tokens (b·f, n, c) to a context (b, m, c) that an item's frames share, without repeating it."""
    items = context.key.shape[0]
    query = attention.to_q(tokens).reshape(items, -1, context.key.shape[-1])
    return _attend(attention, query, *context).reshape(tokens.shape)


def _beside(own: Tensor, shared: Tensor, frames: int, alone: Tensor | None = None) -> Tensor:
    """[own ; shared] on the token axis: own (b·f, n, c), shared (b or 1, m, c) for each of an item's frames.

    Items marked in `alone` (b,) get their own tokens twice instead (which needs m = n). Written once, not repeated
    first and joined then: these are the largest tensors of the network.
    """
    video = own.unflatten(0, (-1, frames))
    repeated = shared[:, None].expand(video.shape[0], frames, -1, -1)
    if alone is not None:
        if repeated.shape != video.shape:
            raise ValueError(
                f"the reference has {shared.shape[1]} tokens where the frames have {own.shape[1]}; unconditional items "
                "that do not come first need a reference latent of the frames' size"
            )
        repeated = torch.where(alone[:, None, None, None], video, repeated)
    return torch.cat([video, repeated], 2).flatten(0, 1)


def _attend(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = (x.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for x in (query, key, value))
    out = F.scaled_dot_product_attention(query, key, value)
    return attention.to_out[0](out.transpose(1, 2).flatten(2))
