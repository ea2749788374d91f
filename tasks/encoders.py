"""The frozen encoders of a run: the autoencoder of the latent space, and the image encoder of the image prompt.

Given folders (Stable Diffusion's VAE, CLIP) are checked and taken over, so that a model made from them is whole without
them. Where the recipe gives none, a small autoencoder is fitted on the training frames, and the image encoder is a
small frozen one with random weights.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Literal

from fye_model.config import AutoencoderConfig, Config, ImageEncoderConfig
from fye_model.training.records import AutoencoderFit
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Worker
from tasks.engine.progress import counted
from tasks.engine.stage import Context, Stage
from tasks.media.read import read_frames
from tasks.workspace.dataset import ClipSet

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
        from fye_model.training.encoders import FitClip, make_encoders  # slow to import, and a cached run needs none

        clips = [
            FitClip(
                clip.subject,
                clip.train,
                item.files[f"clips/{clip.clip}/landmarks"],
                partial(read_frames, item.files[f"clips/{clip.clip}/video"]),
            )
            for clip in item.facts.clips
        ]
        fit = make_encoders(item.out, self.autoencoder, self.image_encoder, clips, self.device, counted(logger.info))
        return EncodersRow(autoencoder="given" if fit is None else "fitted", factor=self.autoencoder.factor, fit=fit)


ENCODERS = Stage(
    "encoders",
    "2",
    settings=lambda recipe: EncoderSettings(autoencoder=recipe.autoencoder, image_encoder=recipe.image_encoder),
    reads={"clips/*/video?": Kind.CLIP, "clips/*/landmarks?": Kind.LANDMARKS},  # none where an autoencoder is given
    writes={"vae/*": Kind.AUTOENCODER, "image_encoder/*": Kind.IMAGE_ENCODER},
    row=EncodersRow,
    open=EncodersWorker,
    resources=Resources(gpus=1, memory_gib=4, pooled=False),
    tools=("torch", "diffusers", "transformers"),
)
