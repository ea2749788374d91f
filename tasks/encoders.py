"""The two frozen encoders beside the networks: the autoencoder and the image encoder, as folders of the store.

Where the recipe names published ones, their folders are copied, so that a work folder holds all that its model is made
of; otherwise a small autoencoder is fitted on the training frames and a small random image encoder is drawn.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from fye_model.config import AutoencoderConfig, ImageEncoderConfig, Runtime
from fye_model.training.autoencoder import fit_autoencoder
from fye_model.training.image_encoder import build_image_encoder, save_image_encoder
from tasks.stage import Stage
from tasks.video import read_frames

MAX_FIT_FRAMES = 4000  # to fit on, spread over all clips: more would not be looked at in so few steps
VAE_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
logger = logging.getLogger(__name__)


class EncoderWorker:
    """Makes `vae/` and `image_encoder/` for a whole data set."""

    def __init__(self, autoencoder: AutoencoderConfig, image_encoder: ImageEncoderConfig, runtime: Runtime) -> None:
        self.autoencoder, self.image_encoder, self.runtime = autoencoder, image_encoder, runtime

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def process(self, files: dict[str, Path], params: dict[str, Any], out: Path) -> dict[str, Any]:
        """Write the two folders into `out`.

        `files`: `clips/<clip>/video`; `params["clips"]`: records with `clip`, `subject` and the span `train`. Only
        training frames are looked at. Returns what was fitted and how well, or that it was given.
        """
        # transformers' random weights and diffusers' training both follow torch's threads
        threads = torch.get_num_threads()
        if self.runtime.threads:
            torch.set_num_threads(self.runtime.threads)
        try:
            row = self._autoencoder(files, params["clips"], out / "vae")
            save_image_encoder(*build_image_encoder(self.image_encoder), out / "image_encoder")
        finally:
            torch.set_num_threads(threads)
        return {"autoencoder": row, "image_encoder": "given" if self.image_encoder.path else "random"}

    def _autoencoder(self, files: dict[str, Path], clips: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
        if self.autoencoder.path is not None:
            return copy_autoencoder(self.autoencoder, folder)
        frames, weights = training_frames(files, clips, MAX_FIT_FRAMES)
        return fit_autoencoder(frames, self.autoencoder, folder, log=logger.info, weights=weights)


def copy_autoencoder(config: AutoencoderConfig, folder: Path) -> dict[str, Any]:
    """Copy a given AutoencoderKL folder. ValueError when it is none, or of other sizes than the recipe says."""
    assert config.path is not None
    missing = [name for name in VAE_FILES if not (config.path / name).is_file()]
    if missing:
        raise ValueError(
            f"autoencoder.path: {config.path} lacks {' and '.join(missing)}; expected the folder of an AutoencoderKL "
            "saved as safetensors, such as sd-vae-ft-mse"
        )
    found = json.loads((config.path / "config.json").read_text(encoding="utf-8"))
    for key, expected in (
        ("block_out_channels", list(config.block_out_channels)),
        ("latent_channels", config.latent_channels),
    ):
        if found.get(key) != expected:
            raise ValueError(
                f"autoencoder.path: {config.path} has {key} {found.get(key)}, the recipe says {expected}: "
                f"set autoencoder.{key} to what the folder has"
            )
    folder.mkdir(parents=True)
    for name in VAE_FILES:
        shutil.copyfile(config.path / name, folder / name)
    return {"given": True, "scaling_factor": found.get("scaling_factor", 0.18215)}


def training_frames(files: dict[str, Path], clips: list[dict[str, Any]], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames of the clips' training spans, (n, s, s, 3) uint8, and weights (n,) that give subjects equal shares.

    At most about `most` frames, every k-th of each clip. ValueError when no clip has a training span.
    """
    used = [clip for clip in clips if clip["train"][1] > clip["train"][0]]
    if not used:
        raise ValueError("no clip has frames to train on, so there is nothing to fit an autoencoder on")
    total = sum(clip["train"][1] - clip["train"][0] for clip in used)
    stride = max(1, -(-total // most))
    parts = [
        read_frames(files[f"clips/{clip['clip']}/video"], slice(clip["train"][0], clip["train"][1], stride))
        for clip in used
    ]
    counts: Counter[str] = Counter()
    for clip, part in zip(used, parts, strict=True):
        counts[clip["subject"]] += len(part)
    weights = [np.full(len(part), 1 / counts[clip["subject"]]) for clip, part in zip(used, parts, strict=True)]
    return np.concatenate(parts), np.concatenate(weights)


ENCODERS = Stage("encoders", "1", EncoderWorker, pooled=False, tools=("torch", "diffusers"), needs=("runtime",))
