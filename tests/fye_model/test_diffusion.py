"""The forward process is the one that diffusers' scheduler undoes when sampling."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler

from fye_model.config import NoiseConfig
from fye_model.diffusion import add_noise, alphas_cumprod, prediction_target


@pytest.mark.parametrize("zero_snr", [True, False])
@pytest.mark.parametrize("schedule", ["scaled_linear", "linear"])
def test_equals_the_scheduler_that_samples(schedule: str, zero_snr: bool) -> None:
    config = NoiseConfig(beta_schedule=schedule, zero_terminal_snr=zero_snr)
    scheduler = DDIMScheduler(
        num_train_timesteps=config.train_timesteps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule=schedule,
        rescale_betas_zero_snr=zero_snr,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )
    ours = alphas_cumprod(config)
    torch.testing.assert_close(ours, scheduler.alphas_cumprod, rtol=2e-5, atol=1e-7)

    latents, noise = torch.randn(2, 4, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([0, 1, 500, 999])
    torch.testing.assert_close(
        add_noise(latents, noise, ours[timesteps]), scheduler.add_noise(latents, noise, timesteps), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        prediction_target(latents, noise, ours[timesteps], "v_prediction"),
        scheduler.get_velocity(latents, noise, timesteps),
        rtol=1e-4,
        atol=1e-4,
    )


def test_zero_terminal_snr_leaves_no_signal_at_the_end_and_keeps_the_start() -> None:
    plain, shifted = (alphas_cumprod(NoiseConfig(zero_terminal_snr=on)) for on in (False, True))
    assert shifted[-1].item() == 0.0 < plain[-1].item()
    assert shifted[0].item() == pytest.approx(plain[0].item(), rel=1e-6)
    assert (shifted.diff() < 0).all()


def test_epsilon_target_is_the_noise() -> None:
    latents, noise = torch.randn(2, 1, 4, 1, 2, 2)
    assert prediction_target(latents, noise, torch.tensor([0.5]), "epsilon") is noise
