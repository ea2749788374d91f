"""Denoising of one window of frames: guidance, kept frames, step caching. Knows latents and networks, not pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from fye_model.animation.step_cache import StepCache
from fye_model.diffusion import clean_estimate, prediction_of
from fye_model.networks.attention import KeyValue

Hold = Callable[[Tensor, Tensor], Tensor]  # latents, timestep -> with kept frames as noise makes of them then
OnStep = Callable[[int, int, Tensor], Tensor | None]  # step, timestep, latents (1, 4, f, h, w) -> changed latents


@dataclass(frozen=True)
class Conditions:
    """What stays the same for a whole video, computed once.

    With guidance the batch is [unconditional, conditional] and only the second half sees the reference; without
    (`guidance_scale` <= 1) it is the conditional half alone. `context` and `reference` are keys and values of each
    attention layer, or the tokens themselves where the networks' weights are not on the device all the time (offload).
    """

    context: list[KeyValue] | Tensor
    reference: list[KeyValue] | list[Tensor]
    guidance_scale: float

    @property
    def guided(self) -> bool:
        """Whether there is an unconditional half."""
        return self.guidance_scale > 1


class _Part(NamedTuple):
    """Items that are denoised together, and what they see; the first `plain` of them no reference."""

    items: slice
    context: list[KeyValue] | Tensor
    reference: list[KeyValue] | list[Tensor] | None
    plain: int


def _parts(conditions: Conditions, apart: bool) -> list[_Part]:
    """All items together, or each half of guidance alone."""
    if not conditions.guided:
        return [_Part(slice(0, 1), conditions.context, conditions.reference, 0)]
    if not apart:
        return [_Part(slice(0, 2), conditions.context, conditions.reference, 1)]
    first, second = slice(0, 1), slice(1, 2)
    return [
        _Part(first, tree_map(itemgetter(first), conditions.context), None, 0),
        _Part(second, tree_map(itemgetter(second), conditions.context), conditions.reference, 0),
    ]


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    return None if any(part is None for part in parts) else torch.cat([part for part in parts if part is not None])


class WindowSampler:
    """Runs the sampling steps of windows of one video, one window after the other.

    `denoise` is the denoiser or a compiled form of it. `dtype` is that of its weights; latents stay in float32 between
    steps, so that half precision touches the network alone. `apart` draws the halves of guidance one after the other,
    which takes less memory.
    """

    def __init__(
        self,
        denoise: nn.Module | Callable[..., Any],
        scheduler: Any,
        conditions: Conditions,
        steps: int,
        device: torch.device,
        dtype: torch.dtype,
        takes_given: bool,
        cache: StepCache | None = None,
        apart: bool = False,
    ) -> None:
        self.denoise = denoise
        self.scheduler = scheduler
        self.conditions = conditions
        self.steps = steps
        self.device = device
        self.dtype = dtype
        self.takes_given = takes_given
        self.cache = cache
        self._parts = _parts(conditions, apart)
        # Going steps again needs a scheduler that remembers nothing; input and latents are the same to this one.
        self.corrector = (
            cache if cache is not None and cache.corrects and isinstance(scheduler, DDIMScheduler) else None
        )

    def begin_window(self) -> Tensor:
        """Reset the scheduler and the cache for a new window; return the timesteps (n,), high to low, on the CPU."""
        # On the CPU: looking a timestep up in a table there would otherwise wait for the GPU at every step.
        self.scheduler.set_timesteps(self.steps, device="cpu")
        if self.cache is not None:
            self.cache.reset()
        return self.scheduler.timesteps

    def guided_prediction(
        self, noisy: Tensor, timestep: Any, landmarks: Tensor, given: Tensor | None, **deep: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Guided network output (1, 4, f, h, w) float32 for noisy latents, and the deep features if asked for.

        landmarks: features (1, c, f, h, w); given: (1, 5, f, h, w), latents and flag.
        """
        shared = noisy.to(self.dtype), landmarks, None if given is None else given.to(self.dtype)
        parts = [self._denoised(part, timestep, *shared, **deep) for part in self._parts]
        output, features = parts[0] if len(parts) == 1 else map(_joined, zip(*parts, strict=True))
        assert output is not None
        output = output.float()
        if self.conditions.guided:
            plain, conditional = output.chunk(2)
            output = plain + self.conditions.guidance_scale * (conditional - plain)
        return output, features

    def _denoised(
        self, part: _Part, timestep: Any, noisy: Tensor, landmarks: Tensor, given: Tensor | None, **deep: Any
    ) -> tuple[Tensor, Tensor | None]:
        """The network's output, and deep features, for some items of guidance, which share all but their conditions."""
        if len(self._parts) > 1 and "deep_features" in deep:
            deep["deep_features"] = deep["deep_features"].unflatten(0, (-1, noisy.shape[2]))[part.items].flatten(0, 1)
        timesteps = torch.full((part.items.stop - part.items.start,), float(timestep), device=self.device)
        found = self.denoise(noisy, timesteps, part.context, landmarks, part.reference, given, plain=part.plain, **deep)
        return found if isinstance(found, tuple) else (found, None)

    def prediction(self, step: int, timestep: Any, noisy: Tensor, landmarks: Tensor, given: Tensor | None) -> Tensor:
        """`guided_prediction`, or what the step cache makes of earlier ones."""
        cache = self.cache
        if cache is None or not cache.config.skips:
            return self.guided_prediction(noisy, timestep, landmarks, given)[0]
        if depth := cache.config.computed_levels:
            if not cache.computes(step):
                (features,) = cache.extrapolate(step)
                return self.guided_prediction(noisy, timestep, landmarks, given, depth=depth, deep_features=features)[0]
            output, computed = self.guided_prediction(noisy, timestep, landmarks, given, depth=depth, return_deep=True)
            assert computed is not None
            cache.store(step, [computed])
            return output
        if not cache.computes(step):
            return self._of_clean(cache.extrapolate(step), timestep, noisy)
        output, _ = self.guided_prediction(noisy, timestep, landmarks, given)
        alpha_bar = float(self.scheduler.alphas_cumprod[int(timestep)])
        cache.store(step, [clean_estimate(noisy, output, alpha_bar, self.scheduler.config.prediction_type)])
        return output

    def _of_clean(self, clean: list[Tensor], timestep: Any, noisy: Tensor) -> Tensor:
        """The network output that a clean estimate of the step cache stands for, beside these noisy latents."""
        alpha_bar = float(self.scheduler.alphas_cumprod[int(timestep)])
        return prediction_of(clean[0], noisy, alpha_bar, self.scheduler.config.prediction_type)

    def _corrected(self, cache: StepCache, latents: Tensor, hold: Hold) -> Tensor:
        """Latents at the last computed step, gone again from those at the computed step before it."""
        for step in cache.stretch():
            timestep = self.scheduler.timesteps[step]
            latents = hold(latents, timestep)
            output = self._of_clean(cache.interpolate(step), timestep, latents)
            latents = self.scheduler.step(output, timestep, latents, return_dict=False)[0]
        return hold(latents, self.scheduler.timesteps[cache.stretch().stop])

    def sample(
        self,
        noise: Tensor,
        landmarks: Tensor,
        kept: Tensor | None = None,
        kept_frames: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Denoise one window from noise (1, 4, f, h, w); return clean latents of the same shape, float32.

        kept: finished latents (1, 4, f, h, w), used where `kept_frames` (f,) bool says so. They come back untouched.
        The network is told them through its given channels, where it has these, and their noisy latents always are what
        noise makes of them at that step, as in training.
        """
        given = None
        here = None
        if self.takes_given:  # zeros say the same as None; one kind of input for all windows means one compiled graph
            given = noise.new_zeros(1, noise.shape[1] + 1, *noise.shape[2:])
        if kept is not None and kept_frames is not None:
            here = kept_frames.to(noise.device)[None, None, :, None, None]
            kept = torch.where(here, kept, 0)
            if given is not None:
                given[:, :-1] = kept
                given[:, -1:] = here

        def hold(latents: Tensor, timestep: Tensor) -> Tensor:
            if here is None:
                return latents
            return torch.where(here, self.scheduler.add_noise(kept, noise, timestep[None]), latents)

        timesteps = self.begin_window()
        latents = noise * self.scheduler.init_noise_sigma
        start: Tensor | None = None  # latents at the last computed step, unless a callback changed them since
        for step, timestep in enumerate(timesteps):
            latents = hold(latents, timestep)
            noisy = self.scheduler.scale_model_input(latents, timestep)
            output = self.prediction(step, timestep, noisy, landmarks, given)
            if self.corrector is not None and self.corrector.computes(step):
                if start is not None:
                    latents = self._corrected(self.corrector, start, hold)
                    output = self._of_clean(self.corrector.interpolate(step), timestep, latents)
                start = latents
            latents = self.scheduler.step(output, timestep, latents, return_dict=False)[0]
            if on_step is not None:
                before = None if start is None else latents.clone()
                changed = on_step(step, int(timestep), latents)
                if changed is not None:  # many callbacks hand back what they were given
                    same = changed is latents and before is not None and torch.equal(before, changed)
                    latents, start = changed, start if same else None
        return latents if here is None or kept is None else torch.where(here, kept, latents)
