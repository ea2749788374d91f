"""Sampling settings as the arguments of a pipeline's call: in one place for animation, evaluation and the command line.

The networks are not imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from fye_model.config import SamplingConfig, StepCacheConfig

if TYPE_CHECKING:  # slow to import
    import torch


class SamplingArguments(TypedDict):
    """What `FollowYourEmojiPipeline` is called with beside pictures."""

    num_inference_steps: int
    guidance_scale: float
    generator: torch.Generator
    strategy: str
    window: int
    overlap: int
    shared_noise: float
    step_cache: StepCacheConfig


def sampling_arguments(sampling: SamplingConfig) -> SamplingArguments:
    """The arguments that these settings mean, with a new generator of `sampling.seed`."""
    import torch

    return {
        "num_inference_steps": sampling.steps,
        "guidance_scale": sampling.guidance_scale,
        "generator": torch.Generator().manual_seed(sampling.seed),
        "strategy": sampling.strategy,
        "window": sampling.window,
        "overlap": sampling.overlap,
        "shared_noise": sampling.shared_noise,
        "step_cache": sampling.step_cache,
    }
