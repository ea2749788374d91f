"""Progressive covering: which frames of a clip the denoiser is given as clean latents while it learns (stage 2).

In the first pass over a long video nothing is given; in the later ones the two keyframes at a span's ends are. [paper]
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fye_model.config import CoveringConfig


def draw_covered(frames: int, config: CoveringConfig, generator: np.random.Generator) -> np.ndarray:
    """Which of a clip's frames are covered: (f,) bool.

    One of three strategies is drawn: all frames but the first and last (`all_but_ends`), every frame (`everything`, 0
    in the paper), or else each frame for itself with probability `per_frame`. The generator is advanced by the same
    amount whichever is drawn.
    """
    strategy = generator.random()
    independent = generator.random(frames) < config.per_frame
    if strategy < config.all_but_ends:
        covered = np.ones(frames, dtype=bool)
        covered[[0, -1]] = False
        return covered
    if strategy < config.all_but_ends + config.everything:
        return np.ones(frames, dtype=bool)
    return independent


def given_latents(latents: Tensor, covered: Tensor) -> Tensor:
    """The denoiser's extra input: given latents (zeros where covered) and a flag channel (1 where given).

    latents: (b, c, f, h, w); covered: (b, f) bool. Returns (b, c + 1, f, h, w).
    """
    given = (~covered).to(latents.dtype)[:, None, :, None, None]
    return torch.cat([latents * given, given.expand(-1, 1, -1, *latents.shape[-2:])], dim=1)
