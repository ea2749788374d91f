"""The diffusion process: how much of a clean latent is left at each timestep, and what a network's output stands for.

The one place of this algebra. With a = alpha-bar, the share of signal: z_t = sqrt(a) z + sqrt(1-a) eps, and
v = sqrt(a) eps - sqrt(1-a) z (Salimans & Ho 2022). Training knows `a` of each item, as a tensor (b,); sampling has one
timestep for all, and gives a number, whose roots are taken in double precision.
"""

from __future__ import annotations

from typing import Any

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


def make_scheduler(config: NoiseConfig) -> Any:
    """DDIM over the forward process that training used: trailing spacing, no clipping of samples. [release]"""
    from diffusers import DDIMScheduler  # slow to import

    return DDIMScheduler(
        num_train_timesteps=config.train_timesteps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule=config.beta_schedule,
        rescale_betas_zero_snr=config.zero_terminal_snr,
        prediction_type=config.prediction,
        timestep_spacing="trailing",
        clip_sample=False,
    )


def add_noise(clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """z_t of clean latents and noise: (b, ...) each, alpha_bar: (b,)."""
    signal, rest = _roots(alpha_bar, clean)
    return signal * clean + rest * noise


def prediction_target(clean: Tensor, noise: Tensor, alpha_bar: Tensor, prediction: str) -> Tensor:
    """What the network should say, of clean latents and the noise in them: (b, ...) each, alpha_bar: (b,)."""
    if _is_epsilon(prediction):
        return noise
    signal, rest = _roots(alpha_bar, clean)
    return signal * noise - rest * clean


def clean_estimate(
    noisy: Tensor, output: Tensor, alpha_bar: Tensor | float, prediction: str, min_alpha_bar: float = 0.0
) -> Tensor:
    """The clean latents that a network's output stands for.

    noisy, output: (b, ...). For `v_prediction` sqrt(a) z_t - sqrt(1-a) v; for `epsilon` (z_t - sqrt(1-a) eps) /
    sqrt(a), where `a` under the root in the denominator is floored at `min_alpha_bar`: with zero terminal SNR it would
    divide by zero.
    """
    signal, rest = _roots(alpha_bar, noisy)
    if _is_epsilon(prediction):
        return (noisy - rest * output) / _roots(alpha_bar, noisy, floor=min_alpha_bar)[0]
    return signal * noisy - rest * output


def prediction_of(clean: Tensor, noisy: Tensor, alpha_bar: Tensor | float, prediction: str) -> Tensor:
    """Inverse of `clean_estimate`: the output that stands for these clean latents."""
    signal, rest = _roots(alpha_bar, noisy)
    if _is_epsilon(prediction):
        return (noisy - signal * clean) / rest
    return (signal * noisy - clean) / rest


def _roots(alpha_bar: Tensor | float, like: Tensor, floor: float = 0.0) -> tuple[Any, Any]:
    """sqrt(a) and sqrt(1-a), of each item in the type of `like` and shaped to multiply it, or of a number; a is raised
    to `floor`."""
    if not isinstance(alpha_bar, Tensor):
        a = torch.tensor(max(alpha_bar, floor), dtype=torch.float64)
        return float(a.sqrt()), float((1 - a).sqrt())
    share = alpha_bar.to(like.dtype).view(-1, *([1] * (like.ndim - 1)))
    share = share.clamp(min=floor) if floor else share
    return share.sqrt(), (1 - share).sqrt()


def _is_epsilon(prediction: str) -> bool:
    if prediction not in ("v_prediction", "epsilon"):
        raise ValueError(f"noise.prediction is {prediction!r}; expected 'v_prediction' or 'epsilon'")
    return prediction == "epsilon"
