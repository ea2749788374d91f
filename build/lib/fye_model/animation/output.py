"""What a pipeline hands out: decoded pictures in the form that was asked for, part by part or joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


@dataclass
class FollowYourEmojiOutput(BaseOutput):
    """frames: list of PIL, array (f, h, w, 3) or CPU tensor (f, 3, h, w) in [0, 1], or latents (1, 4, f, h, w)."""

    frames: Any


def as_output(pictures: Tensor, output_type: str) -> Any:
    """Pictures (f, 3, h, w) in [0, 1] as a CPU tensor (`pt`), an array (f, h, w, 3) (`np`) or a list of PIL (`pil`)."""
    if output_type == "pt":
        return pictures.cpu()
    if output_type == "np":
        return pictures.permute(0, 2, 3, 1).cpu().numpy()
    eight_bits = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in eight_bits]


def joined(parts: Sequence[Any], output_type: str) -> Any:
    """The frames of a whole video from its parts in playing order."""
    if output_type == "pil":
        return [frame for part in parts for frame in part]
    if output_type == "np":
        return np.concatenate(parts)
    return torch.cat(list(parts), dim=2 if output_type == "latent" else 0)
