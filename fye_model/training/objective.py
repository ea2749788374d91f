"""From a batch to the loss: noise the latents, run the networks of the stage, compare with the target."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from fye_model.diffusion import add_noise, alphas_cumprod, prediction_target
from fye_model.losses import LossTerms, training_loss
from fye_model.networks import Networks
from fye_model.training.covering import given_latents
from fye_model.training.job import TrainJob


class Objective(nn.Module):
    """The networks with their loss as one module, so that data parallelism sees a single forward pass.

    Stage 1 looks at single frames and leaves the motion modules out; stage 2 sees clips, some of whose latents it is
    given. Takes batches as `TrainingSamples` makes them, collated and on the networks' device.
    """

    alpha_bar: Tensor

    def __init__(self, networks: Networks, job: TrainJob) -> None:
        super().__init__()
        self.networks = networks
        self.job = job
        self.register_buffer("alpha_bar", alphas_cumprod(job.noise), persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> LossTerms:
        job, networks = self.job, self.networks
        latents, noise, timesteps = batch["latents"], batch["noise"], batch["timestep"]
        alpha_bar = self.alpha_bar[timesteps]
        noisy = add_noise(latents, noise, alpha_bar)
        dtype = next(networks.parameters()).dtype  # of working weights: bf16, and then autocast has nothing to do
        autocast = job.train.precision == "bf16" and dtype == torch.float32
        tokens = batch["image_tokens"].to(dtype)
        with torch.autocast(latents.device.type, torch.bfloat16) if autocast else nullcontext():
            reference = networks.reference_features(batch["reference_latent"].to(dtype), tokens)
            given = (
                given_latents(latents, batch["covered"]) if job.stage == 2 and job.networks.covered_latents else None
            )
            output = networks.denoise(
                noisy.to(dtype),
                timesteps,
                networks.landmark_features(batch["landmarks"].to(dtype) / 255),
                reference,
                tokens,
                None if given is None else given.to(dtype),
                batch["unconditional"],
                temporal=job.stage == 2,
            )
        assert isinstance(output, Tensor)
        terms = training_loss(
            output=output.float(),
            target=prediction_target(latents, noise, alpha_bar, job.noise.prediction),
            noisy=noisy,
            latents=latents,
            timesteps=timesteps,
            alpha_bar=alpha_bar,
            expression_mask=batch["expression_mask"],
            face_mask=batch["face_mask"],
            prediction=job.noise.prediction,
            train_timesteps=job.noise.train_timesteps,
            config=job.loss,
        )
        if job.shard:
            # All processes add up the gradients of the same layers. Where no item of one process's share looks at its
            # reference, the appearance net would have none there, and the others would wait for it for ever.
            terms = replace(terms, total=terms.total + sum((x.float().sum() for x in reference), start=0.0) * 0)
        return terms
