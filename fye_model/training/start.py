"""What a run starts with: the samples, the networks with their optimizer (new or from a checkpoint), the loader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel

from fye_model.networks import Networks, build_networks, component_arguments
from fye_model.training import checkpoint
from fye_model.training.data import TrainingSamples
from fye_model.training.index import TrainingIndex
from fye_model.training.job import Json, TrainJob
from fye_model.training.kernels.support import installed
from fye_model.training.working import too_large


def make_samples(
    job: TrainJob, index: TrainingIndex, log: Callable[[str], None]
) -> tuple[TrainingSamples, TrainingSamples]:
    """Samples to train on and to validate on. Held-out spans shorter than a window are validated in shorter ones."""
    covering = job.covering if job.stage == 2 else None
    rest = (covering, job.noise.train_timesteps, job.landmark_image.variant)
    samples = TrainingSamples(index, job.train, *rest, part="train")
    held_out = TrainingSamples(index, job.train, *rest, part="val")
    frames = job.train.frames
    while not held_out.windows and frames > 1:
        frames -= 1
        held_out = TrainingSamples(index, job.train.model_copy(update={"frames": frames}), *rest, part="val")
    if not held_out.windows:
        log("nothing is held out: there is no validation loss")
    elif frames < job.train.frames:
        log(f"held-out spans are short: validation looks at {frames} frames instead of {job.train.frames}")
    return samples, held_out


def identify(job: TrainJob, index: TrainingIndex) -> Json:
    """What identifies a run: job, data, and where it starts from. ValueError for a start of the wrong stage."""
    origin: Json | None = None
    if job.init is not None:
        meta = checkpoint.read_meta(job.init)
        if job.stage == 2 and meta.stage != 1:
            raise ValueError(
                f"{job.init} is of training stage {meta.stage}, "
                f"but stage {job.stage} starts from a checkpoint of stage 1"
            )
        origin = {"digest": meta.digest, "step": meta.step}
    return {**job.identity(), "data": index.digest(), "init": origin}


def offloads(job: TrainJob, networks: Networks, device: torch.device) -> bool:
    """Whether single-precision weights and moments stay in the computer's memory; see `Runtime.offload`.

    Raises ValueError where that was asked for and Triton, whose kernel reaches them there, is missing.
    """
    if device.type != "cuda" or job.train.working_weights != "bf16" or job.offload is False:
        return False
    if not installed():
        if job.offload:
            raise ValueError("runtime.offload needs Triton, which is not installed: pip install triton")
        return False
    if job.offload:
        return True
    sizes = {trains: 0 for trains in (True, False)}
    for parameter in networks.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    memory = torch.cuda.get_device_properties(device).total_memory
    return not job.train.ema_decay and too_large(sizes[True], sizes[False], memory)


def load_networks(job: TrainJob, samples: TrainingSamples, done: tuple[int, Path] | None) -> Networks:
    """The networks as they were saved after the last step taken, or else as they are at the start of the stage."""
    if done is not None:
        return Networks.load(done[1])
    if job.init is not None:
        expected = component_arguments(job.networks, samples.image_encoder_dim, samples.latent_channels)
        return Networks.load(job.init, expected)
    torch.manual_seed(job.train.seed)
    return build_networks(job.networks, samples.image_encoder_dim, samples.latent_channels)


def start(
    job: TrainJob,
    networks: Networks,
    done: tuple[int, Path] | None,
    device: torch.device,
    spread: Callable[[], None] | None = None,
) -> tuple[checkpoint.Trained, int]:
    """Networks, optimizer and average as they were after the last step taken; and that step (0: none).

    They are on `device`, or in the computer's memory where the job offloads them. `spread`: shards the networks'
    weights before there is an optimizer.
    """
    parameters = networks.train().set_stage(job.stage)
    if not parameters:
        raise ValueError(f"stage {job.stage} has nothing to train under this configuration of the networks")
    if not offloads(job, networks, device):
        networks = networks.to(device)
    if job.train.gradient_checkpointing:
        networks.enable_gradient_checkpointing()
    if spread is not None:
        spread()
        parameters = networks.trainable_parameters(job.stage)
    # AdamW is Adam where the weight decay is 0, and decays as one means it where it is not
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=job.train.learning_rate, weight_decay=job.train.weight_decay, fused=True
    )
    ema = EMAModel(parameters.values(), decay=job.train.ema_decay) if job.train.ema_decay > 0 else None
    trained = checkpoint.Trained(networks, parameters, optimizer, ema)
    if done is None:
        return trained, 0
    trained.load_state(checkpoint.load_state_file(done[1]))
    return trained, done[0]
