"""The layers of a training step compute what the plain ones do, values and gradients."""

from __future__ import annotations

import copy
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from fye_model.config import NetworkConfig
from fye_model.networks import Networks, build_networks
from fye_model.training.layers import (
    ALL,
    NONE,
    Savings,
    TrainingMotion,
    TrainingResnet,
    TrainingTransformer,
    TrainingUpsampler,
    lay_out,
)


def tiny_networks() -> Networks:
    """Two levels with every kind of layer, none of which is left at zero."""
    torch.manual_seed(0)
    config = NetworkConfig(
        block_out_channels=(8, 16),  # at least twice the heads times the image prompt's tokens
        layers_per_block=1,
        attention_heads=2,
        cross_attention_dim=8,
        norm_num_groups=4,
        motion_heads=2,
        landmark_channels=(4, 4, 4, 4),
        qformer_layers=1,
        qformer_tokens=2,
        qformer_heads=2,
    )
    networks = build_networks(config, 6)
    with torch.no_grad():
        for parameter in networks.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.2)
    return networks


def run(networks: Networks, frames: int, marked: list[bool]) -> tuple[Tensor, dict[str, Tensor]]:
    """Prediction and gradients of one pass, with the items in `marked` unconditional."""
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    tokens = draw(2, 5, 6)
    networks.zero_grad()
    # not the unconditional ones first: as a tensor, which is how a step on a GPU sees them
    out = networks.denoise(
        draw(2, 4, frames, 4, 4),
        torch.tensor([10, 700]),
        networks.landmark_features(draw(2, 3, frames, 32, 32)),
        networks.reference_features(draw(2, 4, 4, 4), tokens),
        tokens,
        draw(2, 5, frames, 4, 4) if frames > 1 else None,
        torch.tensor(marked),
        temporal=frames > 1,
    )
    assert isinstance(out, Tensor)
    out.mul(draw(*out.shape)).sum().backward()
    return out.detach(), {n: p.grad for n, p in networks.named_parameters() if p.grad is not None}


ONE_BY_ONE = [replace(NONE, **{field.name: True}) for field in fields(Savings)]
CASES = [
    *((NONE, [x, y]) for x, y in ((False, True), (True, False), (False, False))),
    *((savings, [False, True]) for savings in ONE_BY_ONE),
    (ALL, [True, False]),
]


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(("savings", "marked"), CASES)
def test_laid_out_networks_compute_what_the_plain_ones_do(frames: int, savings: Savings, marked: list[bool]) -> None:
    plain = tiny_networks()
    ours = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    names = {parameter: name for name, parameter in ours.named_parameters()}
    lay_out(ours, savings)
    expected, gradients = run(plain, frames, marked)
    out, found = run(ours, frames, marked)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    of_plain = {names[p]: p.grad for p in ours.parameters() if p.grad is not None}
    assert of_plain.keys() == gradients.keys() and len(found) == len(gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(of_plain[name], gradient, rtol=1e-3, atol=1e-3, msg=name)


def test_every_heavy_layer_of_both_networks_is_replaced() -> None:
    networks = tiny_networks()
    lay_out(networks)
    kinds = [type(module) for module in networks.denoiser.modules()]
    assert all(kind in kinds for kind in (TrainingResnet, TrainingTransformer, TrainingMotion, TrainingUpsampler))
    wrapped = [module.plain for module in networks.modules() if hasattr(module, "plain")]
    assert len({id(layer) for layer in wrapped}) == len(wrapped), "none is wrapped twice"
