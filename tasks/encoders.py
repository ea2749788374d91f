"""The frozen encoders of a run: the autoencoder of the latent space, and the image encoder of the image prompt.

Given folders (Stable Diffusion's VAE, CLIP) are checked and taken over, so that a model made from them is whole without
them. Where the recipe gives none, a small autoencoder is fitted on the training frames, and the image encoder is a
small frozen one with random weights.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from fye_model.config import AutoencoderConfig, ImageEncoderConfig
from tasks.engine.items import Worker
from tasks.engine.stage import Stage
from tasks.media.read import read_frames

MAX_FIT_FRAMES = 4000  # over all clips; neighbouring frames are nearly alike
logger = logging.getLogger(__name__)


class EncodersWorker(Worker):
    """Makes `vae/` and `image_encoder/`, diffusers and transformers folders, out of the recipe and the clips."""

    def __init__(self, autoencoder: AutoencoderConfig, image_encoder: ImageEncoderConfig) -> None:
        self.autoencoder, self.image_encoder = autoencoder, image_encoder

    def process(self, files: dict[str, Path], params: dict[str, Any], out: Path) -> dict[str, Any]:
        """Returns where the autoencoder came from, its latent factor and, when it was fitted, its error."""
        from fye_model.networks.autoencoder import latent_factor, load_autoencoder
        from fye_model.networks.image_encoder import load_image_encoder
        from fye_model.training.autoencoder import fit_autoencoder

        load_image_encoder(self.image_encoder).save(out / "image_encoder")
        if self.autoencoder.path is not None:
            vae = load_autoencoder(self.autoencoder.path)
            if latent_factor(vae) != self.autoencoder.factor:
                raise ValueError(
                    f"autoencoder.path: {self.autoencoder.path} has {latent_factor(vae)} pixels per latent cell, the "
                    f"recipe's autoencoder.block_out_channels say {self.autoencoder.factor}; make them agree"
                )
            vae.save_pretrained(out / "vae")
            return {"autoencoder": "given", "factor": latent_factor(vae)}
        frames, weights = training_frames(files, params["clips"])
        fitted = fit_autoencoder(frames, self.autoencoder, out / "vae", logger.info, weights)
        return {"autoencoder": "fitted", "factor": self.autoencoder.factor, **fitted}


def training_frames(files: dict[str, Path], clips: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Frames (n, s, s, 3) uint8 spread evenly over the clips' training spans, and weights that even out subjects."""
    total = sum(clip["train"][1] - clip["train"][0] for clip in clips)
    stride = -(-total // MAX_FIT_FRAMES)
    frames, subjects = [], []
    for clip in clips:
        chosen = list(range(clip["train"][0], clip["train"][1], stride))
        if chosen:
            frames.append(read_frames(files[f"clips/{clip['clip']}/video"], chosen))
            subjects += [clip["subject"]] * len(chosen)
    count = {subject: subjects.count(subject) for subject in set(subjects)}
    return np.concatenate(frames), np.array([1.0 / count[subject] for subject in subjects])


ENCODERS = Stage("encoders", "1", EncodersWorker, pooled=False, tools=("torch", "diffusers", "transformers"))
