"""The forward process: how much of the clean latent is left at each timestep, and what the network has to predict."""

from __future__ import annotations

import torch
from torch import Tensor

from fye_model.config import NoiseConfig


def alphas_cumprod(config: NoiseConfig) -> Tensor:
    """alpha-bar of every training timestep, (T,) float32, equal to what diffusers' DDIMScheduler uses to sample.

    With `zero_terminal_snr` the square roots are shifted and scaled so that the last one is 0 and the first stays
    (Lin et al. 2023, "Common diffusion noise schedules and sample steps are flawed", algorithm 1).
    """
    if config.beta_schedule == "scaled_linear":
        betas = torch.linspace(config.beta_start**0.5, config.beta_end**0.5, config.train_timesteps).square()
    else:
        betas = torch.linspace(config.beta_start, config.beta_end, config.train_timesteps)
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    if not config.zero_terminal_snr:
        return alpha_bar
    root = alpha_bar.sqrt()
    return ((root - root[-1]) * (root[0] / (root[0] - root[-1]))).square()


def per_item(values: Tensor, like: Tensor) -> Tensor:
    """(b,) values shaped to multiply a (b, ...) tensor."""
    return values.to(like.dtype).view(-1, *([1] * (like.ndim - 1)))


def add_noise(latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """z_t = sqrt(a) z + sqrt(1-a) eps; latents, noise: (b, ...), alpha_bar: (b,)."""
    a = per_item(alpha_bar, latents)
    return a.sqrt() * latents + (1 - a).sqrt() * noise


def prediction_target(latents: Tensor, noise: Tensor, alpha_bar: Tensor, prediction: str) -> Tensor:
    """What the network should say: the noise, or v = sqrt(a) eps - sqrt(1-a) z (Salimans & Ho 2022)."""
    if prediction == "epsilon":
        return noise
    a = per_item(alpha_bar, latents)
    return a.sqrt() * noise - (1 - a).sqrt() * latents
