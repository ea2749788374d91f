"""The sampler follows the released code's guided trajectory, with the plain denoiser and with the rearranged one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler

from fye_model.animation.sampler import Conditions, WindowSampler
from fye_model.fast.make_fast import make_fast
from tests.fye_model.release.conftest import case, imported, official, released

__all__ = ["case", "imported", "official", "released"]  # fixtures


@pytest.mark.parametrize("fast", [False, True])
@torch.no_grad()
def test_the_released_codes_guided_trajectory_is_followed(case: Any, official: dict[str, Any], fast: bool) -> None:
    networks, stored = case.networks, official["scheduler"]
    if fast:
        make_fast(networks.denoiser)
    tokens = networks.image_prompt(case.tokens.expand(2, -1, -1), "denoiser", torch.tensor([True, False]))
    denoiser = networks.denoiser
    sampler = WindowSampler(
        denoiser,
        DDIMScheduler(**stored["kwargs"]),
        Conditions(denoiser.project_context(tokens), denoiser.project_reference(case.features), 3.5),
        steps=3,
        device=torch.device("cpu"),
        dtype=torch.float32,
        takes_given=denoiser.conv_given is not None,
    )
    latents = []
    result = sampler.sample(case.noisy, case.landmarks[:1], on_step=lambda step, t, x: latents.append(x))
    assert torch.equal(sampler.scheduler.timesteps, stored["timesteps_3"])
    for got, expected in zip(latents, stored["trajectory_3"], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(result, latents[-1])


def test_kept_frames_are_noised_as_in_training_and_told_to_the_network() -> None:
    seen = []

    def denoise(noisy, timesteps, context, landmarks, reference, given, plain):
        seen.append((noisy, int(timesteps[0]), given))
        return torch.zeros_like(noisy)

    scheduler = DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing", clip_sample=False)
    sampler = WindowSampler(
        denoise, scheduler, Conditions([], [], 1.0), 4, torch.device("cpu"), torch.float32, takes_given=True
    )
    noise, kept = torch.randn(1, 4, 3, 2, 2), torch.randn(1, 4, 3, 2, 2)
    here = torch.tensor([True, False, True])
    result = sampler.sample(noise, torch.zeros(1, 1, 3, 2, 2), kept, here)
    assert torch.equal(result[:, :, here], kept[:, :, here])
    assert len(seen) == 4
    for noisy, timestep, given in seen:
        a = scheduler.alphas_cumprod[timestep]
        expected = a.sqrt() * kept + (1 - a).sqrt() * noise
        torch.testing.assert_close(noisy[:, :, here], expected[:, :, here])
        assert torch.equal(given[:, 4], here[None, :, None, None].expand(1, -1, 2, 2).float())
        assert torch.equal(given[:, :4, here], kept[:, :, here]) and not given[:, :4, ~here].any()
