"""Latents of all frames of a clip, and image tokens of candidate reference frames: encoded once, read by training."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from fye_model.config import LatentConfig
from fye_model.landmarks.table import read_landmarks
from fye_model.training.records import LatentRow
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Nothing, Quarantine, Worker
from tasks.engine.stage import Context, Stage
from tasks.media.read import read_frames

if TYPE_CHECKING:
    from fye_model.training.latents import LatentEncoder

LATENTS_FILE = "latents.safetensors"


class LatentWorker(Worker[Nothing, LatentRow]):
    """Encodes clip after clip with one autoencoder and one image encoder, loaded when the first clip names them."""

    def __init__(self, settings: LatentConfig, context: Context) -> None:
        self.config, self.device = settings, context.device
        self._loaded: tuple[tuple[Path, Path], LatentEncoder] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loaded = None

    def process(self, item: Given[Nothing]) -> LatentRow:
        """Write latents.safetensors of `video`. Raises `Quarantine` (no_face) when no frame is valid."""
        from fye_model.training.latents import (  # slow to import, and a cached run needs none
            LatentEncoder,
            write_latents,
        )

        folders = (item.folder("vae"), item.folder("image_encoder"))
        if self._loaded is None or self._loaded[0] != folders:
            half = self.config.precision == "fp16"  # whoever stores single precision wants to have it
            self._loaded = (folders, LatentEncoder(*folders, device=self.device, half=half))
        name = item.name
        frames = read_frames(item.files["video"])
        valid = read_landmarks(item.files["landmarks"]).valid
        if len(frames) != len(valid):
            raise ValueError(
                f"{name}: {len(frames)} frames in the video, landmarks of {len(valid)}; run landmarks again"
            )
        references = candidate_references(valid, self.config.references)
        if not len(references):
            raise Quarantine(
                "no_face", f"{name}: none of its {len(valid)} frames has a face, so none can be a reference"
            )
        return write_latents(item.out / LATENTS_FILE, self._loaded[1], frames, references, self.config)


def candidate_references(valid: np.ndarray, most: int) -> np.ndarray:
    """At most `most` frame numbers, spread evenly over the valid frames, the first and last of them included."""
    frames = np.flatnonzero(valid)
    if len(frames) <= most:
        return frames
    return frames[np.linspace(0, len(frames) - 1, most).round().astype(int)]


LATENTS = Stage(
    "latents",
    "1",
    settings=lambda recipe: recipe.latents,
    reads={
        "video": Kind.CLIP,
        "landmarks": Kind.LANDMARKS,
        "vae/*": Kind.AUTOENCODER,
        "image_encoder/*": Kind.IMAGE_ENCODER,
    },
    writes={LATENTS_FILE: Kind.LATENTS},
    row=LatentRow,
    open=LatentWorker,
    resources=Resources(gpus=1, memory_gib=4),
    tools=("torch", "diffusers", "transformers"),
)
