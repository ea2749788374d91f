"""The latents file of a clip, which training reads instead of pictures: written with the networks' own encoders."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from fye_model.config import ImageEncoderConfig, LatentConfig
from fye_model.devices import choose_device
from fye_model.files import whole_file
from fye_model.landmarks.masks import latent_masks
from fye_model.landmarks.table import LandmarkSequence, write_landmarks, write_masks
from fye_model.networks.autoencoder import encode, latent_factor, load_autoencoder
from fye_model.networks.image_encoder import load_image_encoder
from fye_model.training.jitter import crop_frames, crop_sequence, draw_crops
from fye_model.training.layers import lay_out
from fye_model.training.records import JITTERED, LATENTS_FILE, LatentRow

HALF_TOLERANCE = 5e-3  # relative: stored latents are half precision themselves, and training adds noise
logger = logging.getLogger(__name__)
_CHUNK = 16  # frames encoded together
_CHECKED = 4
_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


class LatentEncoder:
    """The autoencoder and the image encoder, as the pipeline uses them, on the device of the run.

    With `half`, and on a GPU, the autoencoder runs in half precision with the layers of a training step, once its
    latents of the first frames have been found equal to those in single precision; where they are not, single precision
    stays, and the log says so.
    """

    def __init__(self, vae: Path, image_encoder: Path, device: str = "cpu", half: bool = False) -> None:
        place = choose_device(device).torch
        self.vae = load_autoencoder(vae)
        self.vae.to(place)  # type: ignore[arg-type]  # diffusers hides its signature
        self.image_encoder = load_image_encoder(ImageEncoderConfig(path=image_encoder)).to(place)
        self._to_check = half and place.type == "cuda"

    def latents(self, frames: np.ndarray) -> Tensor:
        """Posterior means times the scaling factor: (n, s, s, 3) uint8 to (n, c, s/8, s/8) float32."""
        if self._to_check and len(frames):
            self._to_check = False
            self.vae = in_half_precision(self.vae, frames[:_CHECKED])
        return encode(self.vae, torch.from_numpy(frames), _CHUNK).float().cpu()

    def tokens(self, frames: np.ndarray) -> Tensor:
        """CLIP's last hidden state, before its last layer norm [release]: (n, s, s, 3) uint8 to (n, tokens, d)."""
        parts = [frames[first : first + _CHUNK] for first in range(0, len(frames), _CHUNK)]
        return torch.cat([self.image_encoder.encode(part).float().cpu() for part in parts])


def in_half_precision(vae: AutoencoderKL, frames: np.ndarray) -> AutoencoderKL:
    """A copy of `vae` in half precision, or `vae` itself where latents of frames (n, s, s, 3) uint8 would differ."""
    pixels = torch.from_numpy(frames)
    half: Any = copy.deepcopy(vae)
    half.to(dtype=torch.float16, memory_format=torch.channels_last)
    lay_out(half.encoder)
    single, found = encode(vae, pixels, _CHUNK).float(), encode(half, pixels, _CHUNK).float()
    error = float((found - single).norm() / single.norm())
    if not error < HALF_TOLERANCE:  # also when it is NaN
        logger.warning("latents in half precision are %.1e off: the autoencoder stays in single precision", error)
        return vae
    logger.info("latents in half precision, %.1e from single precision", error)
    out: AutoencoderKL = half
    return out


def candidate_references(valid: np.ndarray, most: int) -> np.ndarray:
    """At most `most` frame numbers, spread evenly over the valid (f,) frames, the first and last of them included."""
    frames = np.flatnonzero(valid)
    if len(frames) <= most:
        return frames
    chosen: np.ndarray = frames[np.linspace(0, len(frames) - 1, most).round().astype(int)]
    return chosen


def write_latents(
    path: Path, encoder: LatentEncoder, frames: np.ndarray, references: np.ndarray, config: LatentConfig
) -> LatentRow:
    """Encode frames (f, s, s, 3) uint8 and save them, atomically; returns the row of the clip.

    The file holds latents (f, c, h, w), image_tokens (r, n, d) and reference_frames (r,) int64. ValueError when a
    value is not finite, or too large for the precision it is stored in.
    """
    dtype = _DTYPES[config.precision]
    latents, tokens = encoder.latents(frames).to(dtype), encoder.tokens(frames[references]).to(dtype)
    for name, tensor in (("latents", latents), ("image tokens", tokens)):
        if not torch.isfinite(tensor).all():
            raise ValueError(
                f"{name} are not finite in {config.precision}: use latents.precision fp32, or look at the encoder"
            )
    tensors = {"latents": latents, "image_tokens": tokens, "reference_frames": torch.from_numpy(references).long()}
    with whole_file(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
    return LatentRow(
        frames=len(frames),
        latent_shape=tuple(latents.shape[1:]),
        token_shape=tuple(tokens.shape[1:]),
        references=len(references),
        latent_std=round(float(latents.float().std()), 3),
    )


def write_jittered(
    out: Path,
    encoder: LatentEncoder,
    frames: np.ndarray,
    sequence: LandmarkSequence,
    config: LatentConfig,
    expression_radius: float,
) -> None:
    """Encode the other crops of a clip, each as a clip of its own, into `jitter-1`, `jitter-2` … under `out`.

    frames: (f, s, s, 3) uint8 of the clip, whose landmarks are `sequence`. Every folder holds latents, landmarks and
    masks as a training index names them. Raises ValueError as `write_latents` does.
    """
    for number, crop in enumerate(draw_crops(sequence, config.jitter), 1):
        folder = out / f"{JITTERED}{number}"
        folder.mkdir(parents=True, exist_ok=True)
        moved = crop_sequence(sequence, crop)
        references = candidate_references(moved.valid, config.references)
        write_latents(folder / LATENTS_FILE, encoder, crop_frames(frames, crop), references, config)
        write_landmarks(moved, folder / "landmarks.parquet")
        write_masks(folder / "masks.parquet", *latent_masks(moved, expression_radius, latent_factor(encoder.vae)))
