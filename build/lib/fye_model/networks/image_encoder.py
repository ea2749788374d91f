"""The frozen CLIP vision tower: portraits in, tokens for the image prompt out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from fye_model.config import ImageEncoderConfig
from fye_model.networks.weights import check_loaded, first_line

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's own statistics of RGB in [0, 1]
STD = (0.26862954, 0.26130258, 0.27577711)

Pixels = Tensor | np.ndarray | Image.Image | Sequence[Image.Image]


class ImageEncoder:
    """CLIP's vision transformer with its preprocessing, both in torch, so that they run where the model is."""

    def __init__(self, model: CLIPVisionModel) -> None:
        self.model = model.eval().requires_grad_(False)
        self.size = int(model.config.image_size)  # type: ignore[arg-type]
        self.dim: int = model.config.hidden_size

    def to(self, *args: object, **kwargs: object) -> ImageEncoder:
        """Move the model to a device or dtype; return self."""
        self.model.to(*args, **kwargs)  # type: ignore[arg-type]
        return self

    def preprocess(self, pixels: Pixels) -> Tensor:
        """Resize the shorter side to CLIP's size, crop the centre, normalise: (b, 3, size, size) on the model's device.

        pixels: (b, h, w, 3) uint8, or PIL pictures. Bicubic with antialiasing, as CLIP's own
        preprocessing does.
        """
        images = _as_batch(pixels).to(self.model.device)
        x = images.permute(0, 3, 1, 2).float()
        height, width = x.shape[-2:]
        short = min(height, width)
        size = (int(self.size * height / short), int(self.size * width / short))
        for shape in ((height, size[1]), size):  # one axis at a time, in whole levels: what PIL does
            x = F.interpolate(x, shape, mode="bicubic", antialias=True, align_corners=False).round().clamp(0, 255)
        top, left = (size[0] - self.size) // 2, (size[1] - self.size) // 2
        x = x[..., top : top + self.size, left : left + self.size] / 255
        mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (MEAN, STD))
        return ((x - mean) / std).to(self.model.dtype)

    @torch.no_grad()
    def encode(self, pixels: Pixels) -> Tensor:
        """Return `last_hidden_state` (b, tokens, dim), class token first, without the final layer norm. [release]"""
        return self.model(pixel_values=self.preprocess(pixels)).last_hidden_state

    def save(self, folder: Path) -> None:
        """Write the model, and the preprocessing settings that transformers' `CLIPImageProcessor` reads."""
        self.model.save_pretrained(folder)
        settings = {
            "image_processor_type": "CLIPImageProcessor",
            "do_resize": True,
            "size": {"shortest_edge": self.size},
            "resample": 3,
            "do_center_crop": True,
            "crop_size": {"height": self.size, "width": self.size},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(MEAN),
            "image_std": list(STD),
            "do_convert_rgb": True,
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def load_image_encoder(config: ImageEncoderConfig) -> ImageEncoder:
    """Load `config.path` (CLIP ViT-L/14 in the paper), or build a small frozen random one from `config.seed`.

    ValueError when the folder is missing, damaged or not of a CLIP vision model.
    """
    if config.path is None:
        return random_image_encoder(config)
    return ImageEncoder(load_vision_tower(config.path))


def load_vision_tower(path: Path, **options: Any) -> CLIPVisionModel:
    """Load the vision tower in a CLIP folder, and check that nothing is missing. options: transformers' own.

    ValueError when the folder is missing, damaged or not of a CLIP vision model.
    """
    if not (path / "config.json").is_file():
        raise ValueError(
            f"{path} has no config.json; expected the folder of a CLIP vision model, such as the image_encoder folder "
            "of sd-image-variations-diffusers"
        )
    try:
        loaded: Any = CLIPVisionModel.from_pretrained(path, output_loading_info=True, local_files_only=True, **options)
    except Exception as error:  # transformers raises many types for damaged or foreign folders
        raise ValueError(f"{path} is not a readable CLIP vision model ({first_line(error)}); fetch it again") from error
    model, info = loaded
    # what it has beyond the vision tower (a projection, the text tower) is not used
    check_loaded(info, path, "CLIP vision model")
    return model.eval()


def random_image_encoder(config: ImageEncoderConfig) -> ImageEncoder:
    """A random CLIP vision transformer, the same for the same configuration; no generator of the caller is touched."""
    if config.image_size % config.patch_size:
        raise ValueError(
            f"image_encoder.image_size ({config.image_size}) is not a multiple of image_encoder.patch_size "
            f"({config.patch_size})"
        )
    if config.hidden_size % config.heads:
        raise ValueError(
            f"image_encoder.heads is {config.heads}, which does not divide image_encoder.hidden_size "
            f"({config.hidden_size})"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                image_size=config.image_size,
                patch_size=config.patch_size,
            )
        )
    return ImageEncoder(model)


def _as_batch(pixels: Pixels) -> Tensor:
    """(b, h, w, 3) uint8."""
    if isinstance(pixels, Image.Image):
        pixels = [pixels]
    if not isinstance(pixels, (Tensor, np.ndarray)):
        pixels = np.stack([np.asarray(image.convert("RGB")) for image in pixels])
    batch = torch.as_tensor(pixels)
    if batch.ndim != 4 or batch.shape[-1] != 3 or batch.dtype != torch.uint8:
        raise ValueError(f"pictures are {tuple(batch.shape)} {batch.dtype}, expected (b, h, w, 3) uint8 RGB")
    return batch
