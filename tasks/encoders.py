"""The frozen encoders of a run: the autoencoder of the latent space, and the image encoder of the image prompt.

Given folders (Stable Diffusion's VAE, CLIP) are checked and taken over, so that a model made from them is whole without
them. Where the recipe gives none, a small autoencoder is fitted on the training frames, and the image encoder is a
small frozen one with random weights.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from fye_model.config import AutoencoderConfig, Config, ImageEncoderConfig
from fye_model.landmarks.table import read_landmarks
from fye_model.training.records import AutoencoderFit
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Worker
from tasks.engine.stage import Context, Stage
from tasks.media.read import read_frames
from tasks.workspace.dataset import ClipRecord, ClipSet

MAX_FIT_FRAMES = 4000  # over all clips; neighbouring frames are nearly alike
logger = logging.getLogger(__name__)


class EncoderSettings(Config):
    """Both frozen encoders."""

    autoencoder: AutoencoderConfig
    image_encoder: ImageEncoderConfig


class EncodersRow(Config):
    """Where the autoencoder came from, its pixels per latent cell and, when it was fitted, its error."""

    autoencoder: Literal["given", "fitted"]
    factor: int
    fit: AutoencoderFit | None = None


class EncodersWorker(Worker[ClipSet, EncodersRow]):
    """Makes `vae/` and `image_encoder/`, diffusers and transformers folders, out of the recipe and the clips."""

    def __init__(self, settings: EncoderSettings, context: Context) -> None:
        self.autoencoder, self.image_encoder = settings.autoencoder, settings.image_encoder
        self.device = context.device

    def process(self, item: Given[ClipSet]) -> EncodersRow:
        """Take over the encoders that the recipe names, or fit a small autoencoder on the clips' training spans."""
        from fye_model.networks.autoencoder import latent_factor, load_autoencoder
        from fye_model.networks.image_encoder import load_image_encoder
        from fye_model.training.autoencoder import expression_pixels, fit_autoencoder

        load_image_encoder(self.image_encoder).save(item.out / "image_encoder")
        if self.autoencoder.path is not None:
            vae = load_autoencoder(self.autoencoder.path)
            if latent_factor(vae) != self.autoencoder.factor:
                raise ValueError(
                    f"autoencoder.path: {self.autoencoder.path} has {latent_factor(vae)} pixels per latent cell, the "
                    f"recipe's autoencoder.block_out_channels say {self.autoencoder.factor}; make them agree"
                )
            vae.save_pretrained(item.out / "vae")
            return EncodersRow(autoencoder="given", factor=latent_factor(vae))
        frames, points, weights = training_frames(item.files, item.facts.clips)
        marked = expression_pixels(points, frames.shape[1])
        rest = (logger.info, weights, self.device, marked)
        fit = fit_autoencoder(frames, self.autoencoder, item.out / "vae", *rest)
        return EncodersRow(autoencoder="fitted", factor=self.autoencoder.factor, fit=fit)


def training_frames(
    files: Mapping[str, Path], clips: Sequence[ClipRecord]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames spread evenly over the clips' training spans, their landmarks, and weights that even out subjects.

    Frames (n, s, s, 3) uint8, landmarks (n, 478, 2) pixels with NaN where there is no face, weights (n,).
    """
    total = sum(clip.train[1] - clip.train[0] for clip in clips)
    stride = -(-total // MAX_FIT_FRAMES)
    frames, points, subjects = [], [], []
    for clip in clips:
        chosen = list(range(*clip.train, stride))
        if chosen:
            frames.append(read_frames(files[f"clips/{clip.clip}/video"], chosen))
            points.append(read_landmarks(files[f"clips/{clip.clip}/landmarks"]).pixels()[chosen])
            subjects += [clip.subject] * len(chosen)
    count = Counter(subjects)
    return np.concatenate(frames), np.concatenate(points), np.array([1.0 / count[subject] for subject in subjects])


ENCODERS = Stage(
    "encoders",
    "2",
    settings=lambda recipe: EncoderSettings(autoencoder=recipe.autoencoder, image_encoder=recipe.image_encoder),
    reads={"clips/*/video": Kind.CLIP, "clips/*/landmarks": Kind.LANDMARKS},
    writes={"vae/*": Kind.AUTOENCODER, "image_encoder/*": Kind.IMAGE_ENCODER},
    row=EncodersRow,
    open=EncodersWorker,
    resources=Resources(gpus=1, memory_gib=4, pooled=False),
    tools=("torch", "diffusers", "transformers"),
)
