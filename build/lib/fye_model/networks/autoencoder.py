"""The frozen autoencoder's two directions: pictures to latents and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from fye_model.networks.weights import check_loaded, first_line, read_config


def load_autoencoder(path: Path, **options: Any) -> AutoencoderKL:
    """Load an `AutoencoderKL` folder (`sd-vae-ft-mse` in the paper), frozen, and check that nothing is missing.

    options: diffusers' own, such as `variant`.
    """
    read_config(path, "AutoencoderKL")
    try:
        vae, info = AutoencoderKL.from_pretrained(
            path, output_loading_info=True, local_files_only=True, low_cpu_mem_usage=False, **options
        )
    except Exception as error:  # diffusers raises many types for damaged folders
        raise ValueError(f"{path} is not a readable AutoencoderKL ({first_line(error)}); fetch it again") from error
    check_loaded(info, path, "AutoencoderKL")
    return vae.eval().requires_grad_(False)


def latent_factor(vae: AutoencoderKL) -> int:
    """Pixels per latent cell along one side."""
    return 2 ** (len(vae.config["block_out_channels"]) - 1)


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: Tensor, batch: int = 16) -> Tensor:
    """Latents (n, 4, h, w) of pictures (n, H, W, 3) uint8: the posterior's mean × scaling factor. [release]

    ValueError when H or W is not a multiple of the latent factor.
    """
    factor, (height, width) = latent_factor(vae), pixels.shape[1:3]
    if height % factor or width % factor:
        raise ValueError(
            f"pictures are {width}x{height} pixels, but width and height must be multiples of {factor}, the latent "
            "grid; resize, crop or pad them"
        )
    parts = []
    for part in pixels.split(batch):
        x = part.to(vae.device).permute(0, 3, 1, 2).to(vae.dtype) / 127.5 - 1
        parts.append(vae.encode(x).latent_dist.mean * vae.config["scaling_factor"])
    return torch.cat(parts)


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor, batch: int = 8) -> Tensor:
    """Pictures (n, H, W, 3) uint8 of latents (n, 4, h, w)."""
    parts = []
    for part in latents.split(batch):
        x = vae.decode(part.to(vae.device, vae.dtype) / vae.config["scaling_factor"]).sample
        parts.append(((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1))
    return torch.cat(parts).contiguous()
