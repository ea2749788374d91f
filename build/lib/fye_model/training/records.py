"""What the training half says of what it made, as records that need no PyTorch to be read."""

from __future__ import annotations

from fye_model.config import Config


class AutoencoderFit(Config):
    """How a fit ended: `l1` is the mean absolute error in [0, 1] over frames spread over all."""

    steps: int
    l1: float
    scaling_factor: float  # 1 / spread of the latents


class LatentRow(Config):
    """What latents.safetensors of a clip holds."""

    frames: int
    latent_shape: tuple[int, ...]  # channels, height, width
    token_shape: tuple[int, ...]  # tokens, channels
    references: int
    latent_std: float
