"""LPIPS, version 0.1 (Zhang et al. 2018): how unlike two pictures are to a classifier's features.

Backbone files are torchvision's AlexNet and VGG16 (`features.N.weight` and `.bias`; the classifier in them is left
out), the linear ones `lin0.model.1.weight` to `lin4.model.1.weight`, a non-negative number a channel. Pictures go in
from -1 to 1 and are shifted and scaled by the constants below, which stand for ImageNet's. Features are taken after
five ReLUs, each position's channels brought to length one, squared differences weighted, and averaged over positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fye_model.evaluation.graphs.running import as_batch, channels, filled, measuring
from fye_model.networks.weights import read_weights

Kind = Literal["alexnet", "vgg16"]
SMALLEST_PX = 32  # below, the last layers of AlexNet see nothing
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_TINY = 1e-10


@dataclass(frozen=True)
class _Layout:
    """Layers in order, numbered as torchvision numbers them: (kernel, stride, padding, channels), or a pool's stride.

    after: places of the ReLUs whose outputs are compared.
    """

    layers: tuple[tuple[int, int, int, int] | int, ...]
    pool: int  # kernel of the pools
    after: tuple[int, ...]


def _threes(channels: int, count: int) -> tuple[tuple[int, int, int, int], ...]:
    return ((3, 1, 1, channels),) * count


_LAYOUTS: dict[Kind, _Layout] = {
    "alexnet": _Layout(
        ((11, 4, 2, 64), 2, (5, 1, 2, 192), 2, (3, 1, 1, 384), (3, 1, 1, 256), (3, 1, 1, 256)), 3, (1, 4, 7, 9, 11)
    ),
    "vgg16": _Layout(
        (*_threes(64, 2), 2, *_threes(128, 2), 2, *_threes(256, 3), 2, *_threes(512, 3), 2, *_threes(512, 3)),
        2,
        (3, 8, 15, 22, 29),
    ),
}


class Lpips(nn.Module):
    """Backbone and linear layers; parameters have the names of the two files."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        layout, found = _LAYOUTS[kind], 3
        layers: list[nn.Module] = []
        widths = []
        for layer in layout.layers:
            if isinstance(layer, int):
                layers.append(nn.MaxPool2d(layout.pool, layer))
            else:
                kernel, stride, padding, width = layer
                layers += [nn.Conv2d(found, width, kernel, stride, padding), nn.ReLU()]
                found = width
                widths += [width] if len(layers) - 1 in layout.after else []
        self.after, self.features = layout.after, nn.Sequential(*layers)
        for place, width in enumerate(widths):
            # the file's layer 1: before it stands a dropout, which does nothing here
            linear = nn.Sequential(nn.Identity(), nn.Conv2d(width, 1, 1, bias=False))
            self.add_module(f"lin{place}", nn.ModuleDict({"model": linear}))

    def forward(self, picture: Tensor, other: Tensor) -> Tensor:
        """Pictures (b, 3, h, w) from -1 to 1 -> their distances (b,)."""
        pairs = zip(self._seen(picture), self._seen(other), strict=True)
        parts = [
            torch.einsum("bchw,c->bhw", (ours - theirs).square(), self._weights(place)).mean(dim=(1, 2))
            for place, (ours, theirs) in enumerate(pairs)
        ]
        return torch.stack(parts).sum(dim=0)

    def _weights(self, place: int) -> Tensor:
        return self.get_parameter(f"lin{place}.model.1.weight").flatten()

    def _seen(self, picture: Tensor) -> list[Tensor]:
        """Features of unit length after each of the five layers."""
        x, found = (picture - channels(_SHIFT)) / channels(_SCALE), []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.after:
                found.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + _TINY))
        return found


def read_lpips(kind: Kind, backbone: Path, linear: Path) -> Lpips:
    """LPIPS with the weights of two files. Raises ValueError for a file that is damaged or of another network."""
    state = {name: value for name, value in read_weights(backbone).items() if not name.startswith("classifier.")}
    network = filled(Lpips(kind), {**state, **read_weights(linear)}, f"{backbone} with {linear}")
    if any((parameter < 0).any() for name, parameter in network.named_parameters() if name.startswith("lin")):
        raise ValueError(f"{linear} has negative weights, which no linear layer of LPIPS has: fetch it again")
    return network


def distances(network: Lpips, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """LPIPS of corresponding pictures (f, h, w, 3) uint8, one pair at a time: (f,).

    Raises ValueError for pictures under `SMALLEST_PX` pixels a side.
    """
    if min(first.shape[1:3]) < SMALLEST_PX:
        raise ValueError(f"LPIPS needs pictures of at least {SMALLEST_PX} pixels a side, got {first.shape[1:3]}")
    ours, theirs = as_batch(first) * 2 - 1, as_batch(second) * 2 - 1
    with measuring():
        pairs = zip(ours.split(1), theirs.split(1), strict=True)
        return np.array([float(network(*pair)) for pair in pairs])
