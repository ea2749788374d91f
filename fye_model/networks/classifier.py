"""A classifier of pictures as transformers saves them: what share of each picture is of which label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fye_model.networks.weights import check_loaded, first_line

_CONFIG, _PREPROCESSING = "config.json", "preprocessor_config.json"


class PictureClassifier:
    """Reads a local folder: config.json, preprocessor_config.json and model.safetensors; runs no code from it.

    Raises ValueError for what is no such folder.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        from transformers.models.auto.modeling_auto import AutoModelForImageClassification  # slow to import

        for name in (_CONFIG, _PREPROCESSING, "model.safetensors"):
            if not (folder / name).is_file():
                raise ValueError(
                    f"{folder}: no {name}; expected a folder of an image classifier as transformers saves it, with its "
                    "weights as safetensors"
                )
        try:
            given = json.loads((folder / _PREPROCESSING).read_bytes())
            size = given["size"]
            height, width = (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))
            self._size = (width, height)
            self._mean, self._std = (
                torch.tensor(given[key], dtype=torch.float32).view(1, 3, 1, 1) for key in ("image_mean", "image_std")
            )
            model, info = AutoModelForImageClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
        except Exception as error:  # transformers raises many types for damaged or foreign folders
            raise ValueError(f"{folder}: not an image classifier that can be read ({first_line(error)})") from error
        check_loaded(info, folder, "classifier of pictures")
        self._model = model.to(device).eval().requires_grad_(False)
        self._device = device
        self.labels: tuple[str, ...] = tuple(model.config.id2label[place] for place in range(model.config.num_labels))

    @torch.no_grad()
    def shares(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Pictures (h, w, 3) uint8 -> (n, labels) probabilities in the order of `labels`."""
        small = [Image.fromarray(picture).resize(self._size, Image.Resampling.BILINEAR) for picture in pictures]
        pixels = (
            torch.from_numpy(np.stack([np.asarray(picture) for picture in small])).permute(0, 3, 1, 2).float() / 255
        )
        logits = self._model(pixel_values=((pixels - self._mean) / self._std).to(self._device)).logits
        return np.asarray(logits.float().softmax(dim=1).cpu())
