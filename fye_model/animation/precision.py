"""Half precision where it holds: what overflows there is computed again in single precision, and the user is told.

The largest number of float16 is 65,504. Small models trained in bfloat16, whose largest is that of single precision,
may go beyond it, in the networks or in an autoencoder that was fitted on a few clips.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fye_model.animation.memory import fitting

if TYPE_CHECKING:
    from fye_model.animation.pipeline import FollowYourEmojiPipeline
    from fye_model.animation.sampler import WindowSampler

log = logging.getLogger(__name__)


class CarefulSampler:
    """The sampler of a video, made anew when its pipeline has changed its precision. `make` makes one."""

    def __init__(self, pipeline: FollowYourEmojiPipeline, make: Callable[[], WindowSampler]) -> None:
        self.pipeline, self._make = pipeline, make
        self._sampler, self._saving = fitting(pipeline, make), pipeline.saving

    def run(self, draw: Callable[[WindowSampler], Tensor]) -> Tensor:
        """Latents that `draw` samples, drawn again in single precision where those of half precision are not finite,
        and with memory saved where the card's does not suffice."""
        found = fitting(self.pipeline, lambda: draw(self._current()))
        if torch.isfinite(found).all() or not widen(self.pipeline):
            return found
        return self.run(draw)

    def _current(self) -> WindowSampler:
        if (self._sampler.dtype, self._saving) != (self.pipeline.denoiser.dtype, self.pipeline.saving):
            self._sampler, self._saving = self._make(), self.pipeline.saving
        return self._sampler


def decode_carefully(pipeline: FollowYourEmojiPipeline, latents: Tensor) -> Tensor:
    """Pictures (f, 3, H, W) in [0, 1], float32, of unscaled latents (f, c, h, w), likewise."""

    def decoded() -> Tensor:
        parts = latents.to(pipeline.vae.dtype).split(1 if pipeline.saving else len(latents))
        return torch.cat([pipeline.vae.decode(part).sample.float() for part in parts])

    pictures = fitting(pipeline, decoded)
    if torch.isfinite(latents).all() and not torch.isfinite(pictures).all() and widen(pipeline):
        return decode_carefully(pipeline, latents)
    return (pictures / 2 + 0.5).clamp(0, 1)


def widen(pipeline: FollowYourEmojiPipeline) -> bool:
    """Move a half-precision pipeline to single precision; False where it is there already, and nothing is left to try.

    The weights stay those of half precision, to their rounding; the fast path, which is for half precision, is left.
    """
    if pipeline.denoiser.dtype == torch.float32 and pipeline.vae.dtype == torch.float32:
        return False
    log.warning(
        "numbers of this model overflow in %s: from here on it computes in single precision, at a fraction of the "
        "speed. Load it in torch.float32 to begin so",
        str(pipeline.denoiser.dtype).removeprefix("torch."),
    )
    pipeline.disable_fast_path()
    fitting(pipeline, lambda: pipeline.to(torch.float32))
    return True
