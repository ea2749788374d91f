"""The frozen image encoder: a CLIP vision tower, from a folder, or small and random where none is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from fye_model.config import ImageEncoderConfig
from fye_model.training.autoencoder import save_folder

_PROCESSOR = "preprocessor_config.json"


def build_image_encoder(config: ImageEncoderConfig) -> tuple[Any, Any]:
    """The encoder and the image processor that goes with it.

    Without `config.path` the weights are random and fixed by `config.seed`: no features anybody learned, but a fixed
    map that still tells pictures apart. ValueError when the folder holds no CLIP vision model.
    """
    if config.path is not None:
        return load_image_encoder(config.path)
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
    side = config.image_size
    processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    return model.eval(), processor


def load_image_encoder(folder: Path) -> tuple[Any, Any]:
    """Read an encoder folder; where it has no processor settings, CLIP's at the encoder's own image size are taken."""
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"image_encoder.path: {folder} has no config.json; expected the folder of a CLIP vision model, such as "
            "`image_encoder` of sd-image-variations"
        )
    model: Any = CLIPVisionModel.from_pretrained(folder)
    if (folder / _PROCESSOR).is_file():
        return model.eval(), CLIPImageProcessor.from_pretrained(folder)
    side = model.config.image_size
    return model.eval(), CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


class _Both:
    """Encoder and processor, saved into one folder."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def save_pretrained(self, folder: Path) -> None:
        for part in self.parts:
            part.save_pretrained(folder)


def save_image_encoder(model: Any, processor: Any, folder: Path) -> None:
    """Write encoder and processor as one folder, complete or not at all."""
    save_folder(_Both(model, processor), folder)
