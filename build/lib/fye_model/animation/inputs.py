"""What a caller may hand to the pipeline, in one form: portraits as 8-bit PIL, landmark pictures as a lazy source.

Landmark pictures are asked for window by window, so that a long driver never lies in memory as pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps

from fye_model.animation.portrait import upright_rgb
from fye_model.landmarks.drawing import Variant, draw_landmarks

Picture = Image.Image | np.ndarray | torch.Tensor


class LandmarkSource(Protocol):
    """Landmark pictures by frame number: `len()` frames of `height` x `width` pixels."""

    height: int
    width: int

    def __len__(self) -> int: ...

    def pictures(self, frames: Sequence[int]) -> np.ndarray:
        """Pictures of these frames, (n, height, width, 3), uint8, or float in [0, 1]."""
        ...


@dataclass(frozen=True)
class DrawnLandmarks:
    """Landmarks that are drawn when they are asked for. points_px: (f, 478, 2) pixels; frames with NaN are black."""

    points_px: np.ndarray
    height: int
    width: int
    variant: Variant = "expression_aware"

    def __len__(self) -> int:
        return len(self.points_px)

    def pictures(self, frames: Sequence[int]) -> np.ndarray:
        """(n, height, width, 3) uint8."""
        return draw_landmarks(self.points_px[list(frames)], self.height, self.width, self.variant)


class StoredLandmarks:
    """Landmark pictures that a caller has in memory: (f, h, w, 3) uint8 or float in [0, 1]."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.height, self.width = array.shape[1:3]

    def __len__(self) -> int:
        return len(self._array)

    def pictures(self, frames: Sequence[int]) -> np.ndarray:
        """(n, height, width, 3), as stored."""
        return self._array[list(frames)]


def landmark_source(
    landmarks: LandmarkSource | np.ndarray | torch.Tensor | Sequence[Image.Image],
) -> LandmarkSource:
    """Accept (f, h, w, 3) arrays, (f, 3, h, w) tensors, lists of PIL pictures, or a lazy source.

    Numbers are uint8, or floats in [0, 1].

    Raises `ValueError` for an empty driver, pictures of several sizes, other shapes, values outside [0, 1].
    """
    if isinstance(landmarks, torch.Tensor):
        if landmarks.ndim != 4 or landmarks.shape[1] != 3:
            raise ValueError(f"landmarks as a tensor must be (frames, 3, height, width), got {tuple(landmarks.shape)}")
        landmarks = landmarks.detach().permute(0, 2, 3, 1)
        landmarks = (landmarks if landmarks.dtype == torch.uint8 else landmarks.float()).cpu().numpy()
    elif isinstance(landmarks, Sequence) and all(isinstance(item, Image.Image) for item in landmarks):
        sizes = {item.size for item in landmarks}
        if len(sizes) > 1:
            raise ValueError(f"landmark pictures must all have one size, got {sorted(sizes)}")
        landmarks = np.stack([np.asarray(item.convert("RGB")) for item in landmarks]) if landmarks else np.empty((0,))
    if isinstance(landmarks, np.ndarray):
        if len(landmarks) == 0:
            raise ValueError("The driver is empty: landmarks has 0 frames, at least 1 is needed")
        if landmarks.ndim != 4 or landmarks.shape[3] != 3:
            raise ValueError(f"landmarks as an array must be (frames, height, width, 3), got {landmarks.shape}")
        if landmarks.dtype != np.uint8:
            landmarks = landmarks.astype(np.float32, copy=False)
            if not (landmarks.min() >= 0 and landmarks.max() <= 1):
                raise ValueError("landmarks as floats must lie in [0, 1]; 0 to 255 is expected as uint8")
        landmarks = StoredLandmarks(landmarks)
    if isinstance(landmarks, Sequence) or not callable(getattr(landmarks, "pictures", None)):
        raise ValueError(
            f"landmarks is a {type(landmarks).__name__}; expected an array (f, h, w, 3), a tensor (f, 3, h, w), "
            "a list of PIL pictures, or DrawnLandmarks"
        )
    if len(landmarks) == 0:
        raise ValueError("The driver is empty: landmarks has 0 frames, at least 1 is needed")
    return landmarks


def landmark_tensor(
    source: LandmarkSource, frames: Sequence[int], device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Pictures of some frames as the landmark encoder wants them: (1, 3, n, h, w) in [0, 1]."""
    pictures = torch.from_numpy(np.ascontiguousarray(source.pictures(frames))).to(device)
    scale = 1 / 255 if pictures.dtype == torch.uint8 else 1.0
    return (pictures.to(dtype) * scale).permute(3, 0, 1, 2)[None]


def portrait_image(image: Picture, width: int, height: int) -> Image.Image:
    """Bring a portrait to 8-bit RGB of the wanted size; other aspect ratios are cropped around the centre.

    image: PIL of any mode; array (h, w, 3) or (1, h, w, 3); tensor (3, h, w) or (1, 3, h, w). Floats lie in [0, 1].
    """
    if isinstance(image, torch.Tensor):
        array = image.detach().float().cpu().numpy() if image.is_floating_point() else image.detach().cpu().numpy()
        array = array[0] if array.ndim == 4 and len(array) == 1 else array
        image = np.moveaxis(array, 0, -1) if array.ndim == 3 and array.shape[0] == 3 else array
    if isinstance(image, np.ndarray):
        array = image[0] if image.ndim == 4 and len(image) == 1 else image
        if array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(
                "reference_image must be one RGB picture: PIL, an array (h, w, 3) or a tensor (3, h, w); "
                f"got shape {tuple(image.shape)}"
            )
        if array.dtype != np.uint8:
            if not (array.min() >= 0 and array.max() <= 1):
                raise ValueError("reference_image as floats must lie in [0, 1]; 0 to 255 is expected as uint8")
            array = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
        image = Image.fromarray(np.ascontiguousarray(array))
    if not isinstance(image, Image.Image):
        raise ValueError(f"reference_image is a {type(image).__name__}; expected PIL, a NumPy array or a tensor")
    image = upright_rgb(image)
    return image if image.size == (width, height) else ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
