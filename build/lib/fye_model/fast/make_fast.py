"""Networks rearranged for speed at inference: the same function of the same weights, in fewer passes over memory.

`make_fast` puts a fast block (`blocks`, `transformers`) around each plain one, in its place, and lays images out
channels-last; `Rearranged.undo` puts the plain blocks back. Weights changed in between are used by the fast blocks only
in part: undo and call `make_fast` again. Not for training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from fye_model.fast.blocks import FastBlock, FastGEGLU, FastGroupNorm, FastResnet, FastUpsample
from fye_model.fast.transformers import FastCalls, FastMotionModule, FastSpatialTransformer
from fye_model.networks.attention import SpatialTransformer
from fye_model.networks.denoiser import Denoiser


@dataclass(frozen=True)
class _Place:
    parent: nn.Module
    name: str
    block: FastBlock


class Rearranged:
    """A network with fast blocks in it, and what it takes to have the plain ones back."""

    def __init__(self, network: nn.Module, places: list[_Place]) -> None:
        self.network = network
        self.blocks = [place.block for place in places]
        self._places = places
        self._strides = {name: weight.stride() for name, weight in network.named_parameters()}
        for place in places:
            place.parent._modules[place.name] = place.block
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if isinstance(network, Denoiser):
            self._calls, network.calls = network.calls, FastCalls()

    def compile(self) -> None:
        """Compile the blocks, each kind once per size of its input, at their first calls.

        Blocks of one shape share their code, so this takes a fraction of what compiling the whole network does.
        """
        # Every block runs through the same Python function; the default limit of 8 shapes would leave most uncompiled.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)
        for block in self.blocks:
            if isinstance(block, FastResnet):
                block.compile(dynamic=False)
            elif isinstance(block, FastSpatialTransformer | FastMotionModule):
                block.compiled = True

    @torch.no_grad()
    def undo(self) -> None:
        """Put the very same plain blocks back, with their weights laid out as they were before.

        Weights may have been loaded, moved or converted in between: they stay what they are now.
        """
        for place in self._places:
            place.block.plain.training = place.block.training
            place.parent._modules[place.name] = place.block.plain
        for name, weight in self.network.named_parameters():
            stride = self._strides.get(name)
            if stride is not None and weight.stride() != stride:
                weight.data = torch.empty_strided(weight.shape, stride, dtype=weight.dtype, device=weight.device).copy_(
                    weight.data
                )
        if isinstance(self.network, Denoiser):
            self.network.calls = self._calls


@torch.no_grad()
def make_fast(network: nn.Module) -> Rearranged:
    """Rearrange a denoiser, or an autoencoder, for inference, in place; `undo` of the result is the way back.

    Raises `ValueError`, with nothing changed, for a network that is fast already and for a denoiser with other blocks
    than ours (linear spatial projections, deeper transformers).
    """
    if any(isinstance(module, FastBlock) for module in network.modules()):
        raise ValueError(f"this {type(network).__name__} is fast already; undo that before making it fast again")
    places = [
        _Place(parent, name, block)
        for parent in network.modules()
        for name, child in parent.named_children()
        if (block := _fast_block(child)) is not None
    ]
    return Rearranged(network, places)


def _fast_block(module: Any) -> FastBlock | None:
    """The fast block around a plain one; None for what stays as it is."""
    if type(module) is nn.GroupNorm:
        return FastGroupNorm(module)
    if type(module) is ResnetBlock2D and FastResnet.takes(module):
        return FastResnet(module)
    if isinstance(module, GEGLU):
        return FastGEGLU(module)
    if isinstance(module, Upsample2D) and FastUpsample.takes(module):
        return FastUpsample(module)
    if isinstance(module, SpatialTransformer):
        return FastSpatialTransformer(module)
    if isinstance(module, AnimateDiffTransformer3D):
        return FastMotionModule(module)
    return None
