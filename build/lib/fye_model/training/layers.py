"""The networks' layers as a training step runs them on a GPU: the same weights and function, fewer passes.

Each layer here wraps a plain one and uses its parameters. `lay_out` puts them into a working copy of the networks:
images stay channels-last, so that convolutions need no turning and tokens are views of them; norms take SiLU, time
embedding and bias with them; motion modules leave the frame axis where it is. On the CPU every kernel has its plain
counterpart, so that the layers can be compared with the ones that they wrap.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from fye_model.networks.attention import KeyValue, SpatialTransformer, project
from fye_model.training.kernels.elementwise import add_bias, gated, join
from fye_model.training.kernels.frame_attention import frame_attention
from fye_model.training.kernels.group_norm import group_norm


class TrainingResnet(nn.Module):
    """A UNet's resnet; both biases of its convolutions go where another kernel passes over the image anyway."""

    def __init__(self, plain: ResnetBlock2D) -> None:
        super().__init__()
        self.plain: Any = plain

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
            residual = pointwise(residual, plain.conv_shortcut)
        return to_image(add_bias(to_rows(inner), plain.conv2.bias, residual), side)


class TrainingTransformer(nn.Module):
    """A spatial transformer, with the interface of `SpatialTransformer`.

    Where a clip has one frame (stage 1), the reference's tokens are joined to the frame's before the projection to
    keys and values instead of behind it: one join instead of two, and one product for both.
    """

    def __init__(self, plain: SpatialTransformer) -> None:
        super().__init__()
        self.plain = plain

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
        block = self.plain.block
        tokens = self._enter(hidden)
        normed = block.norm1(tokens)
        tokens = tokens + self._attend_to_reference(block.attn1, normed, reference, plain, frames)
        tokens = tokens + _attend_to_context(block.attn2, block.norm2(tokens), context)
        tokens = tokens + feed_forward(block.ff, block.norm3(tokens))
        out = to_rows(hidden) + pointwise(tokens, self.plain.proj_out)
        return to_image(out, hidden.shape[-2:]), normed

    def _enter(self, hidden: Tensor) -> Tensor:
        return pointwise(to_rows(group_norm(hidden, self.plain.norm)), self.plain.proj_in)

    def _attend_to_reference(
        self, attention: Attention, normed: Tensor, reference: KeyValue | None, plain: int | Tensor, frames: int
    ) -> Tensor:
        query = attention.to_q(normed)
        if reference is None:
            return _attend(attention, query, *project(attention, normed))
        alone = plain if isinstance(plain, Tensor) else _first(plain, len(reference.key), normed)
        if frames == 1:
            key, value = project(attention, join(normed, reference.key, alone, 1))
        else:
            own, shared = project(attention, normed), project(attention, reference.key)
            key, value = (join(x, y, alone, frames) for x, y in zip(own, shared, strict=True))
        return _attend(attention, query, key, value)


class TrainingMotion(nn.Module):
    """A motion module on (frame, pixel, channel) as the image layers leave it; the frame axis is not moved."""

    def __init__(self, plain: AnimateDiffTransformer3D) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, hidden: Tensor, num_frames: int) -> Tensor:
        """(b·f, c, h, w) to the same shape."""
        plain: Any = self.plain
        tokens = to_rows(group_norm(hidden, plain.norm)).unflatten(0, (-1, num_frames))  # (b, f, n, c)
        tokens = plain.proj_in(tokens)
        for block in plain.transformer_blocks:
            place = block.pos_embed.pe[0, :num_frames, None]
            for norm, attention in ((block.norm1, block.attn1), (block.norm2, block.attn2)):
                weight = torch.cat([attention.to_q.weight, attention.to_k.weight, attention.to_v.weight])
                mixed = frame_attention(F.linear(norm(tokens) + place, weight), attention.heads)
                tokens = tokens + attention.to_out[0](mixed)
            tokens = tokens + feed_forward(block.ff, block.norm3(tokens))
        out = to_rows(hidden) + plain.proj_out(tokens).flatten(0, 1)
        return to_image(out, hidden.shape[-2:])


class TrainingUpsampler(nn.Module):
    """Nearest-neighbour enlargement and a convolution; diffusers' turns large batches to channels-first."""

    def __init__(self, plain: Upsample2D) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, hidden: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(n, c, h, w) to (n, c, h', w'): `size`, or twice as large."""
        height, width = hidden.shape[-2:]
        if size is None or tuple(size) == (2 * height, 2 * width):
            # a view for the copy to read; its backward pass is a sum
            rows = hidden.permute(0, 2, 3, 1)[:, :, None, :, None].expand(-1, -1, 2, -1, 2, -1)
            large = rows.reshape(len(hidden), 2 * height, 2 * width, -1).permute(0, 3, 1, 2)
        else:
            large = F.interpolate(hidden, size=size, mode="nearest")
        convolution: Any = self.plain.conv
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


def lay_out(networks: nn.Module) -> int:
    """Put the layers above in place of the plain ones, in place; returns how many. Parameters stay what they are.

    Meant for a working copy: the names in its state dict change.
    """
    replaced = 0
    for module in list(networks.modules()):
        for name, child in list(module.named_children()):
            for plain, wrapper in _WRAPPERS:
                if isinstance(child, plain):
                    setattr(module, name, wrapper(child))
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


def pointwise(rows: Tensor, layer: Any) -> Tensor:
    """A 1x1 convolution or linear layer on rows (n, h·w, c), as a matrix product."""
    return F.linear(rows, layer.weight.flatten(1), layer.bias)


def feed_forward(layer: Any, tokens: Tensor) -> Tensor:
    """diffusers' gated feed-forward layer."""
    out: Tensor = layer.net[2](gated(layer.net[0].proj(tokens)))
    return out


def _attend_to_context(attention: Attention, tokens: Tensor, context: KeyValue) -> Tensor:
    query = attention.to_q(tokens).reshape(len(context.key), -1, context.key.shape[-1])
    return _attend(attention, query, *context).reshape(tokens.shape)


def _attend(attention: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = (x.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for x in (query, key, value))
    mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    out: Tensor = attention.to_out[0](mixed)
    return out


def _first(count: int, items: int, like: Tensor) -> Tensor | None:
    """The first `count` of the items marked; None for none."""
    return None if count == 0 else torch.arange(items, device=like.device) < count
