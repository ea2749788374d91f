"""Motion modules: diffusers' AnimateDiff transformers, with GroupNorm over one frame at a time."""

from __future__ import annotations

import torch.nn.functional as F
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn


class FrameGroupNorm(nn.GroupNorm):
    """GroupNorm of (b, c, f, h, w) with statistics of each frame alone.

    diffusers' motion modules pool the statistics over all frames; AnimateDiff and the released weights were trained
    per frame. The weights load into either, and the wrong one is not noticed.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised, same shape."""
        batch, frames = x.shape[0], x.shape[2]
        folded = x.transpose(1, 2).flatten(0, 1)  # a view: motion modules come from (b·f, c, h, w)
        normed = F.group_norm(folded, self.num_groups, self.weight, self.bias, self.eps)
        return normed.unflatten(0, (batch, frames)).transpose(1, 2)


def specialise(unet: nn.Module, groups: int) -> list[AnimateDiffTransformer3D]:
    """Make the motion modules of a UNet normalise per frame, and start as the identity; return them."""
    modules = [m for m in unet.modules() if isinstance(m, AnimateDiffTransformer3D)]
    for module in modules:
        channels = module.norm.num_channels
        if channels % groups:
            raise ValueError(
                f"networks.motion_norm_num_groups is {groups}, which does not divide a block's {channels} channels; "
                "choose a divisor of every entry of networks.block_out_channels"
            )
        module.norm = FrameGroupNorm(groups, channels, eps=module.norm.eps)
        # As in AnimateDiff: an untrained module adds nothing to the image model's features.
        nn.init.zeros_(module.proj_out.weight)
        nn.init.zeros_(module.proj_out.bias)
    return modules


def diffusers_name(key: str) -> str | None:
    """The name in `UNetMotionModel` of a motion-module key of AnimateDiff or of the released denoiser.

    None for the second positional table of each block: diffusers adds the first one's values in both places, and the
    two tables hold the same sinusoids. [release]
    """
    key = key.replace(".temporal_transformer.", ".").replace(".ff_norm.", ".norm3.")
    if key.endswith("attention_blocks.1.pos_encoder.pe"):
        return None
    key = key.replace(".attention_blocks.0.pos_encoder.pe", ".pos_embed.pe")
    for number in (0, 1):
        key = key.replace(f".attention_blocks.{number}.", f".attn{number + 1}.")
        key = key.replace(f".norms.{number}.", f".norm{number + 1}.")
    return key
