"""Networks of any size from a configuration, initialised from published weights where it names them."""

from __future__ import annotations

import logging

from fye_model.config import NetworkConfig
from fye_model.networks.bundle import COMPONENTS, Networks
from fye_model.networks.pretrained import load_motion_modules, load_unet

logger = logging.getLogger(__name__)


def component_arguments(
    config: NetworkConfig, image_encoder_dim: int, latent_channels: int = 4
) -> dict[str, dict[str, object]]:
    """The constructor arguments of each network under `config`."""
    if len(config.block_out_channels) < 2:
        raise ValueError("networks.block_out_channels needs at least two resolution levels")
    unet: dict[str, object] = {
        "in_channels": latent_channels,
        "block_out_channels": config.block_out_channels,
        "layers_per_block": config.layers_per_block,
        "attention_heads": config.attention_heads,
        "cross_attention_dim": config.cross_attention_dim,
        "norm_num_groups": config.norm_num_groups,
    }
    for key, divisor in (
        ("norm_num_groups", config.norm_num_groups),
        ("attention_heads", config.attention_heads),
        ("motion_heads", config.motion_heads),
        ("motion_norm_num_groups", config.motion_norm_num_groups or config.norm_num_groups),
    ):
        if odd := [c for c in config.block_out_channels if c % divisor]:
            raise ValueError(
                f"networks.{key} is {divisor}, which does not divide networks.block_out_channels {odd[0]}; "
                "choose a common divisor of all of them"
            )
    return {
        "appearance_net": unet,
        "denoiser": {
            **unet,
            "motion_heads": config.motion_heads,
            "motion_max_frames": config.motion_max_frames,
            "motion_norm_num_groups": config.motion_norm_num_groups or config.norm_num_groups,
            "covered_latents": config.covered_latents,
        },
        "landmark_encoder": {"out_channels": config.block_out_channels[0], "channels": config.landmark_channels},
        "image_prompt": {
            "kind": config.image_prompt,
            "image_dim": image_encoder_dim,
            "cross_attention_dim": config.cross_attention_dim,
            "layers": config.qformer_layers,
            "tokens": config.qformer_tokens,
            "heads": config.qformer_heads,
        },
    }


def build_networks(config: NetworkConfig, image_encoder_dim: int, latent_channels: int = 4) -> Networks:
    """Build all networks; load `config.unet` and `config.motion_modules` when they are given.

    `image_encoder_dim` is the width of the CLIP tokens (1024 for ViT-L/14). Random initialisation takes torch's global
    generator: seed it first. What was loaded is logged and kept in `networks.reports`.
    """
    arguments = component_arguments(config, image_encoder_dim, latent_channels)
    networks = Networks(**{name: kind(**arguments[name]) for name, kind in COMPONENTS.items()})
    reports = []
    if config.unet is not None:
        reports += load_unet(networks, config.unet)
    if config.motion_modules is not None:
        reports.append(load_motion_modules(networks, config.motion_modules))
    networks.reports = tuple(reports)
    for report in reports:
        logger.info("%s", report)
    return networks
