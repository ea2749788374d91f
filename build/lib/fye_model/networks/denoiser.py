"""The denoiser: a video UNet that reads landmarks, a reference portrait and, where given, clean latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from torch import Tensor, nn

from fye_model.networks import attention, motion
from fye_model.networks.attention import KeyValue, SpatialTransformer
from fye_model.networks.base import Network


class LayerCalls:
    """How a denoiser gives the parts of a layer their inputs. Blocks that take them otherwise bring other calls."""

    def resnet(self, resnet: nn.Module, hidden: Tensor, temb: Tensor, skip: Tensor | None) -> Tensor:
        """A residual block on hidden (b, c, h, w), with the skip connection's channels (b, d, h, w) behind its own."""
        hidden = hidden if skip is None else torch.cat([hidden, skip], 1)
        return resnet(hidden, temb[: len(hidden)])

    def transformer(
        self,
        transformer: SpatialTransformer,
        hidden: Tensor,
        items: int,
        context: KeyValue,
        reference: KeyValue | None,
        plain: int | Tensor,
        frames: int,
    ) -> Tensor:
        """A spatial transformer on what `items` share, or each has (b·f, c, h, w): the result is of each."""
        return transformer(of_each(hidden, items * frames), context, reference, plain, frames)[0]


class Layer(NamedTuple):
    """A residual block and what follows it."""

    resnet: nn.Module
    transformer: SpatialTransformer | None
    motion_module: nn.Module | None


@dataclass(frozen=True)
class Conditions:
    """What every layer of one call is given besides the features; `temb` is (b·f, t)."""

    temb: Tensor
    context: list[KeyValue]
    reference: list[KeyValue] | None
    plain: int | Tensor
    items: int
    frames: int
    temporal: bool


class Denoiser(Network):
    """Stable Diffusion UNet with AnimateDiff motion modules. [paper Sec. 4, release]

    Weights and layers are those of diffusers' `UNetMotionModel` (`unet`). What differs, each by a part of its own:
    self-attention reads the reference's tokens too (`attention.py`), motion modules normalise frame by frame
    (`motion.py`), landmark features are added to `conv_in`'s output before the first skip connection, and
    `conv_given`, the input channels of the progressive strategy, start at zero. They are a layer beside `conv_in`
    instead of five more channels in it, which is the same function: so training them alone needs no gradient mask, and
    a 4-channel checkpoint loads as it is.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        attention_heads: int = 8,
        cross_attention_dim: int = 768,
        norm_num_groups: int = 32,
        motion_heads: int = 8,
        motion_max_frames: int = 32,
        motion_norm_num_groups: int = 32,
        covered_latents: bool = True,
    ) -> None:
        super().__init__()
        levels = len(block_out_channels)
        self.unet: Any = UNetMotionModel(
            in_channels=in_channels,
            out_channels=in_channels,
            block_out_channels=tuple(block_out_channels),
            down_block_types=("CrossAttnDownBlockMotion",) * (levels - 1) + ("DownBlockMotion",),
            up_block_types=("UpBlockMotion",) + ("CrossAttnUpBlockMotion",) * (levels - 1),
            layers_per_block=layers_per_block,
            num_attention_heads=attention_heads,
            cross_attention_dim=cross_attention_dim,
            norm_num_groups=norm_num_groups,
            motion_num_attention_heads=motion_heads,
            motion_max_seq_length=motion_max_frames,
            use_motion_mid_block=True,
        )
        self.feature_count = attention.specialise(self.unet)
        motion.specialise(self.unet, motion_norm_num_groups)
        self.max_frames = motion_max_frames
        self.conv_given: nn.Conv2d | None = None
        if covered_latents:
            self.conv_given = nn.Conv2d(in_channels + 1, block_out_channels[0], 3, padding=1, bias=False)
            nn.init.zeros_(self.conv_given.weight)
        self.calls = LayerCalls()

    def project_context(self, tokens: Tensor) -> list[KeyValue]:
        """Keys and values of image-prompt tokens (b, m, c) in each cross-attention; they hold for all steps."""
        return [t.project_context(tokens) for t in attention.transformers(self.unet)]

    def project_reference(self, features: Sequence[Tensor]) -> list[KeyValue]:
        """Keys and values of the features (b, n, c) in each self-attention; they too hold for all steps."""
        transformers = attention.transformers(self.unet)
        if len(features) != len(transformers):
            raise ValueError(f"got {len(features)} reference features, but the denoiser has {len(transformers)} places")
        return [t.project_reference(x) for t, x in zip(transformers, features, strict=True)]

    def forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        context: Tensor | list[KeyValue],
        landmark_features: Tensor | None = None,
        reference: Sequence[Tensor] | list[KeyValue] | None = None,
        given: Tensor | None = None,
        plain: int | Tensor = 0,
        temporal: bool = True,
        deep_features: Tensor | None = None,
        return_deep: bool = False,
        depth: int = 1,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the prediction (b, 4, f, h, w) for noisy (b, 4, f, h, w) at timesteps (b,).

        `context` and `reference` are tokens, or what `project_context` and `project_reference` made of them. `plain`
        says which items do without the reference: the first `plain` ones (int) or those marked (bool tensor (b,)).
        `given`, `deep_features`, `return_deep`, `depth`: see `Networks.denoise`. `noisy`, landmarks and `given` of one
        item stand for all of `timesteps`, which then are equal: what the halves of guidance share is computed once.
        ValueError for more frames than the motion modules have positions, and for shapes that do not go together.
        """
        self._check(noisy, timesteps, landmark_features, given, temporal, depth)
        conditions = self._conditions(timesteps, context, reference, plain, noisy.shape[2], temporal)
        hidden = self._enter(noisy, landmark_features, given)
        outer = depth if deep_features is not None else None
        hidden, skips = self._down(hidden, conditions, outer)
        if deep_features is None:
            hidden = self._middle(hidden, conditions)
            hidden = self._up(hidden, skips, conditions, slice(-depth))
            deep_features = hidden
        hidden = self._up(deep_features, skips, conditions, slice(-depth, None))
        sample = self._leave(hidden, conditions)
        return (sample, deep_features) if return_deep else sample

    def _conditions(
        self,
        timesteps: Tensor,
        context: Tensor | list[KeyValue],
        reference: Sequence[Tensor] | list[KeyValue] | None,
        plain: int | Tensor,
        frames: int,
        temporal: bool,
    ) -> Conditions:
        """Tokens projected, time steps embedded."""
        unet = self.unet
        context = self.project_context(context) if isinstance(context, Tensor) else context
        if reference is not None and not isinstance(reference[0], KeyValue):
            reference = self.project_reference(reference)  # type: ignore[arg-type]
        temb = unet.time_embedding(unet.time_proj(timesteps).to(unet.conv_in.weight.dtype))
        temb = temb.repeat_interleave(frames, 0)
        return Conditions(temb, context, reference, plain, len(timesteps), frames, temporal)  # type: ignore[arg-type]

    def _enter(self, noisy: Tensor, landmark_features: Tensor | None, given: Tensor | None) -> Tensor:
        """The first features, (b·f, c, h, w), with what the landmarks and the given latents add."""
        hidden = self.unet.conv_in(_fold(noisy))
        if given is not None:
            assert self.conv_given is not None
            hidden = hidden + self.conv_given(_fold(given))
        if landmark_features is not None:
            hidden = hidden + _fold(landmark_features)
        return hidden

    def _down(self, hidden: Tensor, conditions: Conditions, outer: int | None) -> tuple[Tensor, list[Tensor]]:
        """Run the levels on the way down, or the `outer` ones alone, without leaving the last of those.

        Returns the features and the skip connections, the first one included.
        """
        skips = [of_each(hidden, len(conditions.temb))]
        for level, block in enumerate(list(self.unet.down_blocks)[:outer]):
            for layer in _layers(block):
                hidden = self._layer(layer, hidden, conditions)
                skips.append(hidden)
            if outer is None or level < outer - 1:
                for downsampler in block.downsamplers or ():
                    hidden = downsampler(hidden)
                    skips.append(hidden)
        return hidden, skips

    def _middle(self, hidden: Tensor, conditions: Conditions) -> Tensor:
        middle = self.unet.mid_block
        hidden = self._layer(
            Layer(middle.resnets[0], middle.attentions[0], middle.motion_modules[0]), hidden, conditions
        )
        return self._layer(Layer(middle.resnets[1], None, None), hidden, conditions)

    def _up(self, hidden: Tensor, skips: list[Tensor], conditions: Conditions, levels: slice) -> Tensor:
        """Run some levels on the way up, each layer with the last of `skips`, which are taken off the list."""
        for block in list(self.unet.up_blocks)[levels]:
            for layer in _layers(block):
                hidden = self._layer(layer, hidden, conditions, skips.pop())
            for upsampler in block.upsamplers or ():
                hidden = upsampler(hidden, skips[-1].shape[-2:])
        return hidden

    def _leave(self, hidden: Tensor, conditions: Conditions) -> Tensor:
        """The prediction (b, 4, f, h, w)."""
        unet = self.unet
        hidden = unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))
        return hidden.unflatten(0, (conditions.items, conditions.frames)).transpose(1, 2)

    def _layer(self, layer: Layer, hidden: Tensor, conditions: Conditions, skip: Tensor | None = None) -> Tensor:
        """One layer; what a checkpoint keeps and what it computes anew begins and ends here."""
        resnet, transformer, motion_module = layer
        items, frames, plain = conditions.items, conditions.frames, conditions.plain

        def run(
            hidden: Tensor, skip: Tensor | None, temb: Tensor, prompt: KeyValue | None, portrait: KeyValue | None
        ) -> Tensor:
            hidden = self.calls.resnet(resnet, hidden, temb, skip)
            if transformer is None:
                hidden = of_each(hidden, len(temb))
            else:
                assert prompt is not None
                hidden = self.calls.transformer(transformer, hidden, items, prompt, portrait, plain, frames)
            if motion_module is not None and conditions.temporal:
                hidden = motion_module(hidden, num_frames=frames)
            return hidden

        if transformer is None:
            return self.run_layer(run, hidden, skip, conditions.temb, None, None)
        prompt = conditions.context[transformer.position]
        portrait = None if conditions.reference is None else conditions.reference[transformer.position]
        return self.run_layer(run, hidden, skip, conditions.temb, prompt, portrait)

    def _check(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        landmarks: Tensor | None,
        given: Tensor | None,
        temporal: bool,
        depth: int,
    ) -> None:
        batch, channels, frames, height, width = noisy.shape
        limit = self.max_frames
        if temporal and frames > limit:
            raise ValueError(
                f"a window of {frames} frames exceeds the motion modules' {limit} positions; "
                "use a window of at most that many frames and a strategy for long videos"
            )
        if batch not in (1, len(timesteps)):
            raise ValueError(
                f"noisy has {batch} items for {len(timesteps)} timesteps; expected as many, or one for all"
            )
        expected = (batch, self.unet.conv_in.out_channels, frames, height, width)
        if landmarks is not None and landmarks.shape != expected:
            raise ValueError(f"landmark_features are {tuple(landmarks.shape)}, expected {expected}")
        expected = (batch, channels + 1, frames, height, width)
        if given is not None and self.conv_given is None:
            raise ValueError("given latents need networks.covered_latents: true, and these networks lack it")
        if given is not None and given.shape != expected:
            raise ValueError(f"given is {tuple(given.shape)}, expected {expected}: latent channels and a flag")
        levels = len(self.unet.down_blocks)
        if not 1 <= depth < levels:
            raise ValueError(f"depth is {depth}, expected 1 to {levels - 1}")


def of_each(hidden: Tensor, count: int) -> Tensor:
    """What all items shared so far, for each of them: `count` images."""
    return hidden if len(hidden) == count else torch.cat([hidden] * (count // len(hidden)))


def _layers(block: Any) -> list[Layer]:
    """The layers of a down or up block."""
    attentions = getattr(block, "attentions", [None] * len(block.resnets))
    return [Layer(*parts) for parts in zip(block.resnets, attentions, block.motion_modules, strict=True)]


def _fold(video: Tensor) -> Tensor:
    """(b, c, f, h, w) -> (b·f, c, h, w): the image layers see frames as a batch."""
    return video.transpose(1, 2).flatten(0, 1)
