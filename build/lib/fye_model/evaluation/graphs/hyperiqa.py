"""HyperIQA (Su et al. 2020), trained on KonIQ-10k: a picture's quality, about 0 to 100, without a reference.

A ResNet50 sees a patch of 224 pixels. What it sees in the end makes the weights of a small network, which turns what
was seen at four depths into one number. File: `koniq_pretrained.pkl`, a torch file of tensors (`res.conv1.weight` …
`fc5b_fc.bias`).

The authors score random patches of a picture of 512 x 384. Here a picture is brought to a shorter side of 384, and nine
patches lie at fixed places (a grid of three by three), so that the same picture has the same score.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fye_model.evaluation.graphs.running import IMAGENET_MEAN, IMAGENET_STD, as_batch, channels, filled, measuring
from fye_model.networks.weights import read_weights

PATCH_PX, SHORTER_PX, GRID = 224, 384, 3
_CELLS = 7  # of the last feature map, a side
_LOCAL, _HYPER = 16, 112  # numbers seen at each of the first three depths; channels that make weights
_SIZES = (224, 112, 56, 28, 14)  # of what was seen, and of the small network's layers


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        aside = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + aside)


class _Backbone(nn.Module):
    """ResNet50, and what is seen on the way after each of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for place, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
            first = _Bottleneck(inputs, width, 1 if place == 1 else 2)
            inputs = 4 * width
            self.add_module(
                f"layer{place}", nn.Sequential(first, *(_Bottleneck(inputs, width, 1) for _ in range(1, count)))
            )
            side = PATCH_PX // 2 ** (place + 1) // _CELLS  # windows of 7 cells that fit into the map, a side
            if place < 4:
                local = 8 * 2**place
                self.add_module(
                    f"lda{place}_pool", nn.Sequential(nn.Conv2d(inputs, local, 1, bias=False), nn.AvgPool2d(_CELLS))
                )
                self.add_module(f"lda{place}_fc", nn.Linear(local * side * side, _LOCAL))
            else:
                self.add_module(f"lda{place}_pool", nn.AvgPool2d(_CELLS))
                self.add_module(f"lda{place}_fc", nn.Linear(inputs, _SIZES[0] - 3 * _LOCAL))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (b, 3, 224, 224) -> the last features (b, 2048, 7, 7), and what was seen at four depths (b, 224)."""
        x = functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        seen = []
        for place in range(1, 5):
            x = self.get_submodule(f"layer{place}")(x)
            pooled = self.get_submodule(f"lda{place}_pool")(x)
            seen.append(self.get_submodule(f"lda{place}_fc")(pooled.flatten(1)))
        return x, torch.cat(seen, dim=1)


class HyperIqa(nn.Module):
    """The network; parameters have the names of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.res = _Backbone()
        self.conv1 = nn.Sequential(
            *(nn.Conv2d(2048, 1024, 1), nn.ReLU()),
            *(nn.Conv2d(1024, 512, 1), nn.ReLU()),
            *(nn.Conv2d(512, _HYPER, 1), nn.ReLU()),
        )
        for place, (inputs, outputs) in enumerate(pairwise(_SIZES), 1):
            self.add_module(f"fc{place}w_conv", nn.Conv2d(_HYPER, inputs * outputs // _CELLS**2, 3, padding=1))
            self.add_module(f"fc{place}b_fc", nn.Linear(_HYPER, outputs))
        self.fc5w_fc, self.fc5b_fc = nn.Linear(_HYPER, _SIZES[-1]), nn.Linear(_HYPER, 1)

    def forward(self, patches: Tensor) -> Tensor:
        """Patches (b, 3, 224, 224), normalised as ImageNet's -> scores (b,)."""
        features, x = self.res(patches)
        hyper = self.conv1(features)
        mean = hyper.mean(dim=(2, 3))
        for place, (inputs, outputs) in enumerate(pairwise(_SIZES), 1):
            weight = self.get_submodule(f"fc{place}w_conv")(hyper).reshape(-1, outputs, inputs)
            bias = self.get_submodule(f"fc{place}b_fc")(mean)
            x = torch.sigmoid(torch.einsum("boi,bi->bo", weight, x) + bias)
        return torch.as_tensor((self.fc5w_fc(mean) * x).sum(dim=1) + self.fc5b_fc(mean)[:, 0])


def read_hyperiqa(path: Path) -> HyperIqa:
    """HyperIQA with the weights of a file. Raises ValueError for one that is damaged or of another network."""
    return filled(HyperIqa(), read_weights(path), str(path))


def quality(network: HyperIqa, picture: np.ndarray) -> float:
    """Score of a picture (h, w, 3) uint8: the mean over its nine patches, higher is better."""
    return float(np.mean([_score(network, patch) for patch in patches(picture)]))


def patches(picture: np.ndarray) -> list[Tensor]:
    """The nine patches of a picture (h, w, 3) uint8, row by row: (1, 3, 224, 224) each, normalised."""
    batch = as_batch(picture[None])
    height, width = batch.shape[2:]
    scale = SHORTER_PX / min(height, width)
    size = (round(height * scale), round(width * scale))
    large = functional.interpolate(batch, size=size, mode="bilinear", align_corners=False, antialias=True)
    normal = (large - channels(IMAGENET_MEAN)) / channels(IMAGENET_STD)
    rows, columns = (np.linspace(0, side - PATCH_PX, GRID).round().astype(int) for side in size)
    return [normal[..., y : y + PATCH_PX, x : x + PATCH_PX] for y in rows for x in columns]


def _score(network: HyperIqa, patch: Tensor) -> float:
    with measuring():
        return float(network(patch))
