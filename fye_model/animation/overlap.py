"""Long videos as the released code makes them: overlapping windows whose network outputs are averaged at every step.

Here for comparison: the average blurs what the windows disagree on, and memory grows with the length. Selected with
`strategy="overlap"`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fye_model.animation.sampler import OnStep, WindowSampler


def overlap_latents(
    windows: Sequence[range],
    sampler: WindowSampler,
    noise: Tensor,
    landmarks: Callable[[range], Tensor],
    on_step: OnStep | None = None,
) -> Tensor:
    """Denoise all frames together; return clean latents (1, 4, f, h, w) float32.

    noise: (1, 4, f, h, w); `landmarks(window)` gives landmark features (1, c, n, h, w). At each step the guided
    outputs are summed over the windows and divided by the number of windows that a frame lies in. Raises
    `ValueError` with a step cache, which belongs to windows that are denoised one after the other.
    """
    if sampler.cache is not None and sampler.cache.config.skips:
        raise ValueError("step_cache.interval must be 1 with strategy 'overlap'; skipping steps needs 'progressive'")
    latents = noise * sampler.scheduler.init_noise_sigma
    counts = torch.zeros(noise.shape[2], device=noise.device)
    for window in windows:
        counts[window.start : window.stop] += 1
    for step, timestep in enumerate(sampler.begin_window()):
        noisy = sampler.scheduler.scale_model_input(latents, timestep)
        total = torch.zeros_like(latents)
        for window in windows:
            part = slice(window.start, window.stop)
            output, _ = sampler.guided_prediction(noisy[:, :, part], timestep, landmarks(window), None)
            total[:, :, part] += output
        output = total / counts[None, None, :, None, None]
        latents = sampler.scheduler.step(output, timestep, latents, return_dict=False)[0]
        if on_step is not None:
            changed = on_step(step, int(timestep), latents)
            latents = latents if changed is None else changed
    return latents
