"""The latents file of a clip, which training reads instead of pictures: written with the networks' own encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fye_model.config import ImageEncoderConfig, LatentConfig
from fye_model.files import whole_file
from fye_model.networks.autoencoder import encode, load_autoencoder
from fye_model.networks.image_encoder import load_image_encoder
from fye_model.training.records import LatentRow

_CHUNK = 16  # frames encoded together
_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


class LatentEncoder:
    """The autoencoder and the image encoder, as the pipeline uses them."""

    def __init__(self, vae: Path, image_encoder: Path, device: str = "cpu") -> None:
        self.vae = load_autoencoder(vae)
        self.vae.to(device)  # type: ignore[arg-type]  # diffusers hides its signature
        self.image_encoder = load_image_encoder(ImageEncoderConfig(path=image_encoder)).to(device)

    def latents(self, frames: np.ndarray) -> Tensor:
        """Posterior means times the scaling factor: (n, s, s, 3) uint8 to (n, c, s/8, s/8) float32."""
        return encode(self.vae, torch.from_numpy(frames), _CHUNK).float().cpu()

    def tokens(self, frames: np.ndarray) -> Tensor:
        """CLIP's last hidden state, before its last layer norm [release]: (n, s, s, 3) uint8 to (n, tokens, d)."""
        parts = [frames[first : first + _CHUNK] for first in range(0, len(frames), _CHUNK)]
        return torch.cat([self.image_encoder.encode(part).float().cpu() for part in parts])


def write_latents(
    path: Path, encoder: LatentEncoder, frames: np.ndarray, references: np.ndarray, config: LatentConfig
) -> LatentRow:
    """Encode frames (f, s, s, 3) uint8 and save them, atomically; returns the row of the clip.

    The file holds latents (f, c, h, w), image_tokens (r, n, d) and reference_frames (r,) int64. ValueError when a
    value is not finite, or too large for the precision it is stored in.
    """
    dtype = _DTYPES[config.precision]
    latents, tokens = encoder.latents(frames).to(dtype), encoder.tokens(frames[references]).to(dtype)
    for name, tensor in (("latents", latents), ("image tokens", tokens)):
        if not torch.isfinite(tensor).all():
            raise ValueError(
                f"{name} are not finite in {config.precision}: use latents.precision fp32, or look at the encoder"
            )
    tensors = {"latents": latents, "image_tokens": tokens, "reference_frames": torch.from_numpy(references).long()}
    with whole_file(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
    return LatentRow(
        frames=len(frames),
        latent_shape=tuple(latents.shape[1:]),
        token_shape=tuple(tokens.shape[1:]),
        references=len(references),
        latent_std=round(float(latents.float().std()), 3),
    )
