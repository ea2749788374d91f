"""Tiny networks and inputs, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fye_model.config import NetworkConfig
from fye_model.networks import Networks, build_networks

IMAGE_DIM = 24


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny_config() -> NetworkConfig:
    """The paper's layout at a size that runs in milliseconds."""
    return NetworkConfig(
        block_out_channels=(8, 16, 16, 16),
        attention_heads=2,
        cross_attention_dim=12,
        norm_num_groups=4,
        motion_heads=2,
        landmark_channels=(4, 4, 4, 8),
        qformer_layers=2,
        qformer_tokens=3,
        qformer_heads=2,
    )


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Leave no parameter at zero, so that every path shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            scale = 0.5 if parameter.ndim == 1 else 1.0 / max(1, parameter[0].numel()) ** 0.5
            base = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(base + scale * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture
def make_networks(tiny_config: NetworkConfig) -> Callable[..., Networks]:
    """Builds tiny networks with no weight at zero, or as initialised with `trained=False`."""

    def make(trained: bool = True, **changes: object) -> Networks:
        torch.manual_seed(0)
        networks = build_networks(tiny_config.model_copy(update=changes), IMAGE_DIM).eval()
        if trained:
            randomise(networks)
        return networks

    return make


@pytest.fixture
def inputs() -> SimpleNamespace:
    """Random inputs: 2 items, 3 frames, a 16x16 latent grid."""
    generator = torch.Generator().manual_seed(1)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    given = randn(2, 5, 3, 16, 16)
    given[:, 4] = (given[:, 4] > 0).float()
    return SimpleNamespace(
        noisy=randn(2, 4, 3, 16, 16),
        reference=randn(2, 4, 16, 16),
        tokens=randn(2, 5, IMAGE_DIM),
        landmarks=torch.rand(2, 3, 3, 128, 128, generator=generator),
        given=given,
        t=torch.tensor([999, 20]),
    )
