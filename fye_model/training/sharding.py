"""Weights, gradients and moments of one model spread over all processes (FSDP2), for networks too large to copy.

A process keeps its share of every tensor. Whole layers are gathered while they are used: residual blocks, feed-forward
layers and motion modules one by one, what is left (attention, norms, first and last layers) once a step. Checkpoints
are those of any other run: gathered, and written whole by the first process.
"""

from __future__ import annotations

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from fye_model.training.distributed import World


def shard(objective: nn.Module, world: World) -> None:
    """Spread the parameters of the networks that `objective` holds over the processes, in place.

    Every process must hold the same values before. The parameters are other objects afterwards.
    """
    objective.to(world.device)
    mesh = init_device_mesh(world.device.type, (world.size,))
    motion = [module for module in objective.modules() if isinstance(module, AnimateDiffTransformer3D)]
    inside = {id(part) for module in motion for part in module.modules()}
    rest = [
        module
        for module in objective.modules()
        if isinstance(module, (ResnetBlock2D, FeedForward)) and id(module) not in inside
    ]
    for module in [*motion, *rest, objective]:
        sharded = fully_shard(module, mesh=mesh)
        if world.device.type == "cpu":  # Gloo adds up and does not average
            sharded.set_force_sum_reduction_for_comms(True)


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` was called on it."""
    return isinstance(module, FSDPModule)


def sum_gradients(module: nn.Module, now: bool) -> None:
    """Whether the next backward pass adds its gradients up over the processes, or keeps them for one that does."""
    assert isinstance(module, FSDPModule)
    module.set_requires_gradient_sync(now)


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all its shares; all processes must ask for it."""
    found: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return found


def share_of(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's share of a tensor that all have whole, spread as `like` is; a number stays one."""
    if not isinstance(like, DTensor) or tensor.ndim == 0:
        return tensor
    with torch.no_grad():
        found: Tensor = distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return found
