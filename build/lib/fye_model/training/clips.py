"""The files of one clip as training reads them: latents memory-mapped, landmarks and masks kept while they are hot."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fye_model.landmarks.drawing import Variant, landmark_points
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence, read_landmarks, read_masks
from fye_model.training.index import ClipEntry, TrainingIndex

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The values made most recently, at most `size` of them. Forgotten when sent to another process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: OrderedDict[Any, Value] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Value]) -> Value:
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        if len(self._values) > self.size:
            self._values.popitem(last=False)
        return value

    def __getstate__(self) -> dict[str, object]:
        return {"size": self.size, "_values": OrderedDict()}


class LatentFile:
    """`latents.safetensors` of a clip, read frame by frame from the mapped file.

    latents (f, c, h, w); image_tokens (r, n, d) of the frames in reference_frames (r,).
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = safe_open(path, framework="pt")
            self.reference_frames = self._file.get_tensor("reference_frames").numpy()
            self._latents = self._file.get_slice("latents")
            self._tokens = self._file.get_slice("image_tokens")
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path}: not a readable latent file ({error}); run the latent stage again") from error
        self.shape: tuple[int, ...] = tuple(self._latents.get_shape())
        self.token_shape: tuple[int, ...] = tuple(self._tokens.get_shape())

    def latents(self, frames: np.ndarray) -> Tensor:
        """Latents of increasing frame numbers: (f, c, h, w) float32."""
        first = int(frames[0])
        found: Tensor = self._latents[first : int(frames[-1]) + 1]
        return found[torch.from_numpy(frames - first)].float()

    def tokens(self, row: int) -> Tensor:
        """CLIP tokens of the row-th candidate reference: (n, d) float32."""
        found: Tensor = self._tokens[row : row + 1]
        return found[0].float()


class ClipReader:
    """Reads the clips of an index, with an upper bound on what it keeps in memory."""

    def __init__(self, index: TrainingIndex, variant: Variant) -> None:
        self.index = index
        self.variant = variant
        self.geometry = _geometry(index.geometry)
        self._files: Recent[LatentFile] = Recent(64)
        self._points: Recent[np.ndarray] = Recent(512)
        self._masks: Recent[tuple[np.ndarray, np.ndarray]] = Recent(128)

    def latent_file(self, clip: ClipEntry) -> LatentFile:
        return self._files.get(clip.clip, lambda: LatentFile(clip.latents))

    def landmarks(self, clip: ClipEntry) -> LandmarkSequence:
        """The clip's landmarks, held to what the index says about them. Not kept."""
        sequence = read_landmarks(clip.landmarks)
        expected = (clip.frames, self.index.size, self.index.size, self.index.landmark_model)
        found = (len(sequence), sequence.width, sequence.height, sequence.model)
        if found != expected:
            raise ValueError(
                f"clip {clip.name}: {clip.landmarks} holds (frames, width, height, model) {found}, "
                f"the training index says {expected}; run the landmark stage again"
            )
        return sequence

    def points(self, clip: ClipEntry) -> np.ndarray:
        """What is drawn for the landmark encoder: (f, 478, 2) float32 pixels of the clip."""

        def make() -> np.ndarray:
            return landmark_points(self.landmarks(clip), self.variant, self.geometry).astype(np.float32)

        return self._points.get(clip.clip, make)

    def masks(self, clip: ClipEntry) -> tuple[np.ndarray, np.ndarray]:
        """Expression and face masks at latent size, (f, h, w) float16 each."""

        def make() -> tuple[np.ndarray, np.ndarray]:
            expression, face = read_masks(clip.masks)
            side = self.index.latent_size
            if expression.shape != (clip.frames, side, side):
                raise ValueError(
                    f"clip {clip.name}: masks of shape {expression.shape} in {clip.masks}, "
                    f"expected {(clip.frames, side, side)}; run the landmark stage again"
                )
            return expression.astype(np.float16), face.astype(np.float16)

        return self._masks.get(clip.clip, make)


def _geometry(source: str) -> FaceGeometry:
    return FaceGeometry.mean_mesh() if source == "mean_mesh" else FaceGeometry.from_task(source)
