"""Reenactment: a reference performs drawn landmarks, and what came out is kept beside what drove it.

Self reenactment, the paper's protocol (section 5.3): a clip's first frame becomes the reference, the frames after it
drive and are the ground truth. In cross reenactment the frames that drive show somebody else, and are no truth of the
picture. The trivial baseline, the reference repeated, goes through the same protocols: a model that does not beat it
has learned nothing about motion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from fye_model.animation.arguments import sampling_arguments
from fye_model.config import SamplingConfig


@dataclass(frozen=True)
class Reenactment:
    """What a clip's reenactment was made of and what came out, all uint8 RGB of one size.

    reference: (h, w, 3); landmarks, truth, result: (f, h, w, 3), frame i of each belongs to the same moment. truth: the
    frames that drove, which show somebody else in a cross reenactment.
    """

    reference: np.ndarray
    landmarks: np.ndarray
    truth: np.ndarray
    result: np.ndarray

    def baseline(self) -> np.ndarray:
        """The reference repeated for every driven frame: (f, h, w, 3)."""
        return np.repeat(self.reference[None], len(self.truth), axis=0)

    def resized(self, size: int) -> Reenactment:
        """All pictures at `size` x `size`, by area averaging; the same object when they are of that size already."""
        if self.truth.shape[1:3] == (size, size):
            return self
        return Reenactment(
            reference=resize_frames(self.reference[None], size)[0],
            landmarks=resize_frames(self.landmarks, size),
            truth=resize_frames(self.truth, size),
            result=resize_frames(self.result, size),
        )


def self_reenact(
    pipeline: Callable[..., Any],
    frames: np.ndarray,
    landmark_pictures: np.ndarray,
    sampling: SamplingConfig,
    max_frames: int,
) -> Reenactment:
    """Animate the first frame with the landmarks of the frames after it, at most `max_frames` of them.

    pipeline: a `FollowYourEmojiPipeline`, or anything that is called like one. frames, landmark_pictures: (f, h, w, 3)
    uint8 of the same clip, f >= 2. The noise is drawn from `sampling.seed` for every clip, so that a clip's result does
    not depend on which clips were done before it. Raises ValueError for a clip of one frame.
    """
    if frames.shape != landmark_pictures.shape:
        raise ValueError(f"frames {frames.shape} and landmark pictures {landmark_pictures.shape} differ in shape")
    if len(frames) < 2:
        raise ValueError("a self reenactment needs at least 2 frames: one is the reference, the others drive")
    driven = slice(1, 1 + max_frames)
    return reenact(pipeline, frames[0], landmark_pictures[driven], frames[driven], sampling)


def reenact(
    pipeline: Callable[..., Any],
    reference: np.ndarray,
    landmarks: np.ndarray,
    driving: np.ndarray,
    sampling: SamplingConfig,
) -> Reenactment:
    """Animate the picture `reference` (h, w, 3) with drawn landmarks; `driving`: the frames that these were read in.

    landmarks, driving: (f, h, w, 3) uint8, f >= 1. The noise is drawn from `sampling.seed`.
    """
    height, width = reference.shape[:2]
    output = pipeline(
        Image.fromarray(reference),
        landmarks,
        height=height,
        width=width,
        **sampling_arguments(sampling),
        output_type="np",
    )
    result = as_uint8(np.asarray(output.frames))
    if result.shape != driving.shape:
        raise ValueError(f"the pipeline returned frames of shape {result.shape}, expected {driving.shape}")
    return Reenactment(reference=reference, landmarks=landmarks, truth=driving, result=result)


def as_uint8(frames: np.ndarray) -> np.ndarray:
    """Float pictures in [0, 1] -> uint8, rounded to nearest. Raises ValueError for NaN, which no clamp may hide."""
    if not np.isfinite(frames).all():
        raise ValueError("the pipeline returned NaN or infinite pixels; the checkpoint is damaged or diverged")
    return (frames.clip(0, 1) * 255).round().astype(np.uint8)


def resize_frames(frames: np.ndarray, size: int) -> np.ndarray:
    """(f, h, w, 3) uint8 -> (f, size, size, 3) by area averaging, which has no ringing to be scored."""
    return np.stack([np.asarray(Image.fromarray(f).resize((size, size), Image.Resampling.BOX)) for f in frames])
