"""The frozen encoders of a run, as folders: taken over from the recipe, or fitted on the clips' training spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fye_model.config import AutoencoderConfig, ImageEncoderConfig
from fye_model.landmarks.table import read_landmarks
from fye_model.networks.autoencoder import latent_factor, load_autoencoder
from fye_model.networks.image_encoder import load_image_encoder
from fye_model.training.autoencoder import expression_pixels, fit_autoencoder, save_folder
from fye_model.training.records import AutoencoderFit

MAX_FIT_FRAMES = 4000  # over all clips; neighbouring frames are nearly alike
VAE, IMAGE_ENCODER = "vae", "image_encoder"


@dataclass(frozen=True)
class FitClip:
    """A clip that an autoencoder may be fitted on: its training span, its landmark table, and how frames are read.

    read: frame numbers -> (n, s, s, 3) uint8.
    """

    subject: str
    train: tuple[int, int]
    landmarks: Path
    read: Callable[[Sequence[int]], np.ndarray]


def make_encoders(
    out: Path,
    autoencoder: AutoencoderConfig,
    image_encoder: ImageEncoderConfig,
    clips: Iterable[FitClip],
    device: str,
    log: Callable[[str], None],
) -> AutoencoderFit | None:
    """Write `vae/` and `image_encoder/` into `out`; returns how the fit ended, None where a given one was taken over.

    Raises ValueError for a given autoencoder whose pixels per latent cell are not the recipe's, and where there is
    neither a given one nor anything to fit one on.
    """
    load_image_encoder(image_encoder).save(out / IMAGE_ENCODER)
    if autoencoder.path is not None:
        vae = load_autoencoder(autoencoder.path)
        if latent_factor(vae) != autoencoder.factor:
            raise ValueError(
                f"autoencoder.path: {autoencoder.path} has {latent_factor(vae)} pixels per latent cell, the recipe's "
                f"autoencoder.block_out_channels say {autoencoder.factor}; make them agree"
            )
        save_folder(vae, out / VAE)
        return None
    frames, points, weights = fit_frames(list(clips))
    return fit_autoencoder(
        frames, autoencoder, out / VAE, log, weights, device, expression_pixels(points, frames.shape[1])
    )


def fit_frames(clips: Sequence[FitClip]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames spread evenly over the clips' training spans, their landmarks, and weights that even out subjects.

    Frames (n, s, s, 3) uint8, landmarks (n, 478, 2) pixels with NaN where there is no face, weights (n,).
    """
    total = sum(clip.train[1] - clip.train[0] for clip in clips)
    stride = -(-total // MAX_FIT_FRAMES)
    frames, points, subjects = [], [], []
    for clip in clips:
        chosen = list(range(*clip.train, stride))
        if chosen:
            frames.append(clip.read(chosen))
            points.append(read_landmarks(clip.landmarks).pixels()[chosen])
            subjects += [clip.subject] * len(chosen)
    count = Counter(subjects)
    return np.concatenate(frames), np.concatenate(points), np.array([1.0 / count[subject] for subject in subjects])
