"""The appearance net: an image UNet, run once on the reference portrait, whose self-attention inputs are the output."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from fye_model.networks import attention
from fye_model.networks.attention import SpatialTransformer
from fye_model.networks.base import Network

UNUSED = ("conv_norm_out", "conv_act", "conv_out")  # of the UNet
UNUSED_IN_LAST_BLOCK = ("attn1", "norm2", "attn2", "norm3", "ff")


class AppearanceNet(Network):
    """Stable Diffusion UNet cut off where the last reference feature leaves it. [paper Sec. 4, release]

    The output is a list of tensors (b, tokens, channels): the input of each self-attention (output of `norm1`), in the
    order in which they run. At the paper's size there are 16: `down_blocks.{0,1,2}.attentions.{0,1}`, `mid_block`,
    `up_blocks.{1,2,3}.attentions.{0,1,2}`. Layers behind the last one influence nothing and do not exist here, so
    they hold no gradient and no optimizer state.
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
    ) -> None:
        super().__init__()
        levels = len(block_out_channels)
        self.unet: Any = UNet2DConditionModel(
            in_channels=in_channels,
            block_out_channels=tuple(block_out_channels),
            down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
            layers_per_block=layers_per_block,
            attention_head_dim=attention_heads,  # diffusers' name for the number of heads
            cross_attention_dim=cross_attention_dim,
            norm_num_groups=norm_num_groups,
        )
        self.feature_count = attention.specialise(self.unet)
        last = self.unet.up_blocks[-1].attentions[-1]
        last.proj_out = None
        for name in UNUSED_IN_LAST_BLOCK:
            setattr(last.transformer_blocks[0], name, None)
        for name in UNUSED:
            setattr(self.unet, name, None)

    def forward(self, latent: Tensor, context: Tensor, timestep: int = 0) -> list[Tensor]:
        """Return the reference features of latent (b, 4, h, w) under image-prompt tokens (b, m, cross_attention_dim).

        The reference is clean, so its timestep is 0. [release]
        """
        unet = self.unet
        timesteps = torch.full((latent.shape[0],), timestep, device=latent.device)
        temb = unet.time_embedding(unet.time_proj(timesteps).to(unet.conv_in.weight.dtype))
        features: list[Tensor] = []
        hidden = unet.conv_in(latent)
        skips = [hidden]
        for block in unet.down_blocks:
            attentions = getattr(block, "attentions", [None] * len(block.resnets))
            for resnet, transformer in zip(block.resnets, attentions, strict=True):
                hidden = self._layer(resnet, transformer, hidden, temb, context, features)
                skips.append(hidden)
            for downsampler in block.downsamplers or ():
                hidden = downsampler(hidden)
                skips.append(hidden)
        hidden = self._layer(unet.mid_block.resnets[0], unet.mid_block.attentions[0], hidden, temb, context, features)
        hidden = self._layer(unet.mid_block.resnets[1], None, hidden, temb, context, features)
        for block in unet.up_blocks:
            attentions = getattr(block, "attentions", [None] * len(block.resnets))
            for resnet, transformer in zip(block.resnets, attentions, strict=True):
                hidden = torch.cat([hidden, skips.pop()], 1)
                hidden = self._layer(resnet, transformer, hidden, temb, context, features)
            for upsampler in block.upsamplers or ():
                hidden = upsampler(hidden, skips[-1].shape[-2:])
        return features

    def _layer(
        self,
        resnet: nn.Module,
        transformer: SpatialTransformer | None,
        hidden: Tensor,
        temb: Tensor,
        context: Tensor,
        features: list[Tensor],
    ) -> Tensor:
        """One resnet with the transformer behind it, if any; appends that transformer's reference feature."""

        def run(hidden: Tensor, temb: Tensor, context: Tensor) -> tuple[Tensor, Tensor | None]:
            hidden = resnet(hidden, temb)
            if transformer is None:
                return hidden, None
            if transformer.proj_out is None:
                return hidden, transformer.reference_tokens(hidden)
            return transformer(hidden, transformer.project_context(context))

        hidden, tokens = self.run_layer(run, hidden, temb, context)
        if tokens is not None:
            features.append(tokens)
        return hidden
