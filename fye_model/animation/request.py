"""One video that a pipeline is asked for: its settings, and whether they can be computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fye_model.animation.inputs import LandmarkSource
from fye_model.animation.output import OUTPUT_TYPES
from fye_model.config import StepCacheConfig
from fye_model.networks.denoiser import Denoiser

STRATEGIES = ("progressive", "overlap")


@dataclass(frozen=True)
class Request:
    """The settings of a video, as `FollowYourEmojiPipeline` documents them; sizes in pixels are those of the result."""

    source: LandmarkSource
    height: int
    width: int
    steps: int
    guidance_scale: float
    generator: torch.Generator | None
    latents: Tensor | None
    strategy: str
    window: int
    overlap: int
    step_cache: StepCacheConfig | None
    output_type: str
    decode_chunk_size: int
    shared_noise: float = 0.0

    def check(self, denoiser: Denoiser, factor: int, most_steps: int) -> None:
        """Raise `ValueError` for what networks with a latent grid of 1 / `factor` cannot compute."""
        source, height, width = self.source, self.height, self.width
        if height % factor or width % factor:
            raise ValueError(f"height and width must be divisible by {factor} (the latent grid), got {height}x{width}")
        if (source.height, source.width) != (height, width):
            raise ValueError(
                f"landmark pictures are {source.height}x{source.width}, but {height}x{width} was asked for; "
                "draw the landmarks at the size of the result"
            )
        limit = denoiser.config["motion_max_frames"]
        if self.window > limit:
            raise ValueError(
                f"window is {self.window} frames, but the motion modules have positions for at most {limit}"
            )
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy is {self.strategy!r}; expected one of {', '.join(STRATEGIES)}")
        if self.output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type is {self.output_type!r}; expected one of {', '.join(OUTPUT_TYPES)}")
        if not 1 <= self.steps <= most_steps:
            raise ValueError(f"num_inference_steps is {self.steps}; expected 1 to {most_steps}, the steps of training")
        wanted = (1, denoiser.config["in_channels"], len(source), height // factor, width // factor)
        if self.latents is not None and tuple(self.latents.shape) != wanted:
            got = tuple(self.latents.shape)
            raise ValueError(f"latents must have shape {wanted} for {len(source)} frames, got {got}")
        if not 0 <= self.shared_noise <= 1:
            raise ValueError(f"shared_noise is {self.shared_noise}; expected 0 to 1, a share of the noise's variance")
        if not math.isfinite(self.guidance_scale) or self.decode_chunk_size < 1:
            raise ValueError(
                f"guidance_scale is {self.guidance_scale} and decode_chunk_size {self.decode_chunk_size}; "
                "expected a finite number, and at least 1"
            )
        if self.generator is not None and not isinstance(self.generator, torch.Generator):
            kind = type(self.generator).__name__
            raise ValueError(f"generator is a {kind}; one video takes one torch.Generator")


def check_callback_inputs(names: Sequence[str], known: Sequence[str]) -> None:
    """Raise `ValueError` for tensors that a callback asks for and a pipeline cannot hand it."""
    if unknown := set(names) - set(known):
        raise ValueError(f"callback_on_step_end_tensor_inputs: {unknown} unknown; choose {tuple(known)}")
