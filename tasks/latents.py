"""Latents of all frames of a clip, and image tokens of candidate reference frames: encoded once, read by training."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fye_model.config import ImageEncoderConfig, LatentConfig
from fye_model.landmarks.table import read_landmarks
from fye_model.networks.autoencoder import encode, load_autoencoder
from fye_model.networks.image_encoder import load_image_encoder
from tasks.item import Quarantine
from tasks.stage import Stage
from tasks.video import read_frames

LATENTS_FILE = "latents.safetensors"
_CHUNK = 16  # frames encoded together
_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


class LatentWorker:
    """Encodes clip after clip with one autoencoder and one image encoder, loaded when the first clip names them."""

    def __init__(self, latents: LatentConfig | None = None) -> None:
        self.config = latents or LatentConfig()
        self._loaded: tuple[tuple[Path, Path], LatentEncoder] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loaded = None

    def process(self, files: dict[str, Path], params: dict[str, Any], out: Path) -> dict[str, Any]:
        """Write latents.safetensors of `files["video"]` into `out`.

        `files`: `video`, `landmarks`, and the encoders' files as `vae/…` and `image_encoder/…`; `params`: `name`, for
        messages. Raises `Quarantine` (no_face) when no frame is valid.
        """
        folders = (files["vae/config.json"].parent, files["image_encoder/config.json"].parent)
        if self._loaded is None or self._loaded[0] != folders:
            self._loaded = (folders, LatentEncoder(*folders))
        name = str(params.get("name", files["video"].name))
        frames = read_frames(files["video"])
        valid = read_landmarks(files["landmarks"]).valid
        if len(frames) != len(valid):
            raise ValueError(
                f"{name}: {len(frames)} frames in the video, landmarks of {len(valid)}; run landmarks again"
            )
        references = candidate_references(valid, self.config.references)
        if not len(references):
            raise Quarantine(
                "no_face", f"{name}: none of its {len(valid)} frames has a face, so none can be a reference"
            )
        return write_latents(out / LATENTS_FILE, self._loaded[1], frames, references, self.config)


class LatentEncoder:
    """The autoencoder and the image encoder, as the pipeline uses them."""

    def __init__(self, vae: Path, image_encoder: Path) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.vae = load_autoencoder(vae)
        self.vae.to(device)  # type: ignore[arg-type]  # diffusers hides its signature
        self.image_encoder = load_image_encoder(ImageEncoderConfig(path=image_encoder)).to(device)

    def latents(self, frames: np.ndarray) -> Tensor:
        """Posterior means times the scaling factor: (n, s, s, 3) uint8 to (n, c, s/8, s/8) float32."""
        return encode(self.vae, torch.from_numpy(frames), _CHUNK).float().cpu()

    def tokens(self, frames: np.ndarray) -> Tensor:
        """CLIP's last hidden state, before its last layer norm [release]: (n, s, s, 3) uint8 to (n, tokens, d)."""
        parts = [frames[first : first + _CHUNK] for first in range(0, len(frames), _CHUNK)]
        return torch.cat([self.image_encoder.encode(part).float().cpu() for part in parts])


def candidate_references(valid: np.ndarray, most: int) -> np.ndarray:
    """At most `most` frame numbers, spread evenly over the valid frames, the first and last of them included."""
    frames = np.flatnonzero(valid)
    if len(frames) <= most:
        return frames
    return frames[np.linspace(0, len(frames) - 1, most).round().astype(int)]


def write_latents(
    path: Path, encoder: LatentEncoder, frames: np.ndarray, references: np.ndarray, config: LatentConfig
) -> dict[str, Any]:
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return {
        "frames": len(frames),
        "latent_shape": list(latents.shape[1:]),
        "token_shape": list(tokens.shape[1:]),
        "references": len(references),
        "latent_std": round(float(latents.float().std()), 3),
    }


LATENTS = Stage("latents", "1", LatentWorker, tools=("torch", "diffusers", "transformers"))
