"""The denoiser: a video UNet that reads landmarks, a reference portrait and, where given, clean latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from torch import Tensor, nn

from fye_model.networks import attention, motion
from fye_model.networks.attention import KeyValue, SpatialTransformer
from fye_model.networks.base import Network


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
        unet, batch, frames = self.unet, len(timesteps), noisy.shape[2]
        context = self.project_context(context) if isinstance(context, Tensor) else context
        if reference is not None and not isinstance(reference[0], KeyValue):
            reference = self.project_reference(reference)  # type: ignore[arg-type]
        temb = unet.time_embedding(unet.time_proj(timesteps).to(unet.conv_in.weight.dtype))
        temb = temb.repeat_interleave(frames, 0)

        def each(hidden: Tensor) -> Tensor:
            """What all items shared so far, for each of them."""
            return hidden if len(hidden) == len(temb) else torch.cat([hidden] * batch)

        def layer(
            resnet: nn.Module,
            transformer: SpatialTransformer | None,
            motion_module: nn.Module | None,
            hidden: Tensor,
            skip: Tensor | None = None,
        ) -> Tensor:
            def run(
                hidden: Tensor, skip: Tensor | None, temb: Tensor, prompt: KeyValue | None, portrait: KeyValue | None
            ) -> Tensor:
                beside = {}
                if skip is not None and getattr(resnet, "takes_skip", False):
                    beside["skip"] = skip
                elif skip is not None:
                    hidden = torch.cat([hidden, skip], 1)
                hidden = resnet(hidden, temb[: len(hidden)], **beside)
                if not getattr(transformer, "takes_shared", False):
                    hidden = each(hidden)
                if transformer is not None:
                    hidden, _ = transformer(hidden, prompt, portrait, plain, frames)
                return motion_module(hidden, num_frames=frames) if motion_module is not None and temporal else hidden

            if transformer is None:
                return self.run_layer(run, hidden, skip, temb, None, None)
            portrait = None if reference is None else reference[transformer.position]
            return self.run_layer(run, hidden, skip, temb, context[transformer.position], portrait)

        hidden = unet.conv_in(_fold(noisy))
        if given is not None:
            assert self.conv_given is not None
            hidden = hidden + self.conv_given(_fold(given))
        if landmark_features is not None:
            hidden = hidden + _fold(landmark_features)

        skips = [each(hidden)]
        outer = len(unet.down_blocks) if deep_features is None else depth
        for level, block in enumerate(unet.down_blocks[:outer]):
            for resnet, transformer, motion_module in _layers(block):
                hidden = layer(resnet, transformer, motion_module, hidden)
                skips.append(hidden)
            if deep_features is None or level < depth - 1:
                for downsampler in block.downsamplers or ():
                    hidden = downsampler(hidden)
                    skips.append(hidden)

        if deep_features is None:
            middle = unet.mid_block
            hidden = layer(middle.resnets[0], middle.attentions[0], middle.motion_modules[0], hidden)
            hidden = layer(middle.resnets[1], None, None, hidden)

        deep = deep_features
        first = 0 if deep_features is None else len(unet.up_blocks) - depth
        for level, block in enumerate(unet.up_blocks):
            if level < first:
                continue
            if level == len(unet.up_blocks) - depth:
                deep = hidden = hidden if deep_features is None else deep_features
            for resnet, transformer, motion_module in _layers(block):
                hidden = layer(resnet, transformer, motion_module, hidden, skips.pop())
            for upsampler in block.upsamplers or ():
                hidden = upsampler(hidden, skips[-1].shape[-2:])

        hidden = unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))
        sample = hidden.unflatten(0, (batch, frames)).transpose(1, 2)
        if not return_deep:
            return sample
        assert deep is not None
        return sample, deep

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


def _layers(block: Any) -> list[tuple[nn.Module, SpatialTransformer | None, nn.Module]]:
    """(resnet, spatial transformer or None, motion module) of each layer of a down or up block."""
    attentions = getattr(block, "attentions", [None] * len(block.resnets))
    return list(zip(block.resnets, attentions, block.motion_modules, strict=True))


def _fold(video: Tensor) -> Tensor:
    """(b, c, f, h, w) -> (b·f, c, h, w): the image layers see frames as a batch."""
    return video.transpose(1, 2).flatten(0, 1)
