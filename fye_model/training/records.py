"""What the training half says of what it made, as records that need no PyTorch to be read."""

from __future__ import annotations

import json
import math
from pathlib import Path

from fye_model.config import Config

LATENTS_FILE = "latents.safetensors"
VALIDATION = "validation.json"  # of a checkpoint
JITTERED = "jitter-"  # and a number: the folder of one of a clip's other crops


def of_crop(clip: str, name: str, number: int) -> dict[str, object]:
    """What the record of a clip's `number`-th other crop has otherwise than the clip's: nothing of it is held out."""
    return {"clip": f"{clip}~{number}", "name": f"{name}~{number}", "val": (0, 0)}


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


def validation_loss(checkpoint: Path) -> float:
    """The loss that training measured on held-out batches for this checkpoint; ValueError where there is none."""
    path = checkpoint / VALIDATION
    try:
        loss = float(json.loads(path.read_text())["loss"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path}: expected {{"loss": number}} of the training\'s validation ({error!r}); '
            "set train.*.validate_every so that every checkpoint is validated"
        ) from error
    if not math.isfinite(loss):
        raise ValueError(f"{path}: the validation loss is {loss}; training diverged")
    return loss
