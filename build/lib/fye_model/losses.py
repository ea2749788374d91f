"""The training loss: diffusion error plus the facial fine-grained (FFG) terms over the two masks.

L = L_diffusion + lambda_e w(t) D(M_e) + lambda_f w(t) D(M_f), with D the masked error of the clean-latent estimate.
Everything is a pure function of tensors; per-sample quantities are averaged over the batch last, so that the value
does not depend on how a batch is cut into micro-batches of equal size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fye_model.config import LossConfig
from fye_model.diffusion import clean_estimate

MASK_EPSILON = 1e-6  # keeps an empty mask's term at exactly 0 instead of 0/0


@dataclass(frozen=True)
class LossTerms:
    """The scalar that is minimised and what it is made of, all 0-d tensors; `total` alone carries the gradient.

    `expression` and `face` are the FFG terms with their timestep weight and without their lambda, so that two runs
    with different lambdas log comparable numbers.
    """

    total: Tensor
    diffusion: Tensor
    expression: Tensor
    face: Tensor

    def detached(self) -> dict[str, Tensor]:
        """The terms by name for logging, without their graph."""
        return {
            "loss": self.total.detach(),
            "loss_diffusion": self.diffusion.detach(),
            "loss_expression": self.expression.detach(),
            "loss_face": self.face.detach(),
        }


def masked_error(target: Tensor, estimate: Tensor, mask: Tensor, norm_p: float = 2.0) -> Tensor:
    """D(M) of each item: sum of M |z - z'|^p over C * sum of M, plus a hair so that an empty mask gives 0.

    target, estimate: (b, c, f, h, w); mask: (b, f, h, w) area fractions in [0, 1]. Returns (b,).
    """
    weight = mask.to(target.dtype).unsqueeze(1)
    error = (target - estimate).abs() if norm_p == 1 else (target - estimate).abs().pow(norm_p)
    return (weight * error).flatten(1).sum(1) / (target.shape[1] * weight.flatten(1).sum(1) + MASK_EPSILON)


def timestep_weight(timesteps: Tensor, alpha_bar: Tensor, config: LossConfig, train_timesteps: int) -> Tensor:
    """Weight of the FFG terms at each item's timestep: (b,) integers and (b,) alpha-bar to (b,).

    `linear` is 1 - t/T. `min_snr` is min(SNR, gamma), the form that Min-SNR weighting (Hang et al. 2023) takes for a
    loss on the clean sample; it is 0 where the terminal SNR is 0.
    """
    if config.timestep_weight == "none":
        return torch.ones_like(alpha_bar)
    if config.timestep_weight == "linear":
        return 1 - timesteps.to(alpha_bar.dtype) / train_timesteps
    return (alpha_bar / (1 - alpha_bar)).clamp(max=config.min_snr_gamma)


def training_loss(
    *,
    output: Tensor,
    target: Tensor,
    noisy: Tensor,
    latents: Tensor,
    timesteps: Tensor,
    alpha_bar: Tensor,
    expression_mask: Tensor,
    face_mask: Tensor,
    prediction: str,
    train_timesteps: int,
    config: LossConfig,
) -> LossTerms:
    """The whole objective for a batch.

    output, target (what the network should have said), noisy, latents (clean): (b, c, f, h, w); timesteps, alpha_bar:
    (b,); masks: (b, f, h, w). Computed in at least float32 whatever the network ran in.
    """
    output = output.to(latents.dtype)
    diffusion = (output - target).square().mean()
    estimate = clean_estimate(noisy, output, alpha_bar, prediction, config.min_alpha_bar)
    weight = timestep_weight(timesteps, alpha_bar, config, train_timesteps)
    expression = (weight * masked_error(latents, estimate, expression_mask, config.norm_p)).mean()
    face = (weight * masked_error(latents, estimate, face_mask, config.norm_p)).mean()
    total = diffusion + config.lambda_expression * expression + config.lambda_face * face
    return LossTerms(total, diffusion, expression, face)
