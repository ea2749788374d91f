"""Weight files as they are published: names and shapes written out here, values drawn by a seed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def drawn(shapes: Shapes, seed: int = 0, scale: float = 1.4) -> dict[str, Tensor]:
    """Values that keep what flows through a network at its size: (name -> tensor)."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        elif len(shape) == 1:
            state[name] = torch.randn(shape, generator=generator) * 0.1
        else:
            fan = int(np.prod(shape[1:]))
            state[name] = torch.randn(shape, generator=generator) * scale / fan**0.5
    return state


def normalisation(name: str, width: int, counter: bool = True) -> Shapes:
    shapes: Shapes = {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**shapes, f"{name}.num_batches_tracked": ()} if counter else shapes


def torchvision_features(widths: Iterable[tuple[int, int, int]]) -> Shapes:
    """place, width and kernel of each convolution -> names and shapes."""
    shapes: Shapes = {}
    inputs = 3
    for place, width, kernel in widths:
        shapes[f"features.{place}.weight"] = (width, inputs, kernel, kernel)
        shapes[f"features.{place}.bias"] = (width,)
        inputs = width
    return shapes


ALEXNET = torchvision_features([(0, 64, 11), (3, 192, 5), (6, 384, 3), (8, 256, 3), (10, 256, 3)])
ALEXNET_CLASSIFIER: Shapes = {
    **{"classifier.1.weight": (4096, 9216), "classifier.1.bias": (4096,)},
    **{"classifier.4.weight": (4096, 4096), "classifier.4.bias": (4096,)},
    **{"classifier.6.weight": (1000, 4096), "classifier.6.bias": (1000,)},
}
VGG16 = torchvision_features(
    [
        *((0, 64, 3), (2, 64, 3), (5, 128, 3), (7, 128, 3), (10, 256, 3), (12, 256, 3), (14, 256, 3)),
        *((17, 512, 3), (19, 512, 3), (21, 512, 3), (24, 512, 3), (26, 512, 3), (28, 512, 3)),
    ]
)


def linear(widths: Iterable[int]) -> Shapes:
    return {f"lin{place}.model.1.weight": (1, width, 1, 1) for place, width in enumerate(widths)}


LINEAR = {"alexnet": linear((64, 192, 384, 256, 256)), "vgg16": linear((64, 128, 256, 512, 512))}


def lpips_files(folder: Path, kind: str = "alexnet") -> tuple[Path, Path]:
    """A backbone, with a classifier as torchvision's has, and linear layers."""
    backbone = {"alexnet": ALEXNET, "vgg16": VGG16}[kind]
    extra: Shapes = {"classifier.6.weight": (10, 4), "classifier.6.bias": (10,)}
    paths = folder / f"{kind}.pth", folder / f"{kind}_linear.pth"
    torch.save(drawn({**backbone, **extra}), paths[0])
    torch.save({name: value.abs() for name, value in drawn(LINEAR[kind], 1).items()}, paths[1])
    return paths


# Branch_0, Branch_1 (1x1, 3x3), Branch_2 (1x1, 3x3), Branch_3, of DeepMind's inception_i3d
_I3D_MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def _unit(name: str, inputs: int, outputs: int, kernel: int) -> Shapes:
    shape = (outputs, inputs, kernel, kernel, kernel)
    return {f"{name}.conv3d.weight": shape, **normalisation(f"{name}.bn", outputs, counter=False)}


def i3d_shapes() -> Shapes:
    """The conversion of 2017, before counters of batches were kept."""
    shapes = _unit("Conv3d_1a_7x7", 3, 64, 7) | _unit("Conv3d_2b_1x1", 64, 64, 1) | _unit("Conv3d_2c_3x3", 64, 192, 3)
    inputs = 192
    for name, (b0, b1a, b1b, b2a, b2b, b3b) in _I3D_MIXED.items():
        shapes |= _unit(f"{name}.b0", inputs, b0, 1)
        shapes |= _unit(f"{name}.b1a", inputs, b1a, 1) | _unit(f"{name}.b1b", b1a, b1b, 3)
        shapes |= _unit(f"{name}.b2a", inputs, b2a, 1) | _unit(f"{name}.b2b", b2a, b2b, 3)
        shapes |= _unit(f"{name}.b3b", inputs, b3b, 1)
        inputs = b0 + b1b + b2b + b3b
    return {**shapes, "logits.conv3d.weight": (400, 1024, 1, 1, 1), "logits.conv3d.bias": (400,)}


def iresnet_shapes(blocks: Iterable[int]) -> Shapes:
    """A checkpoint of InsightFace's training code."""
    shapes: Shapes = {"conv1.weight": (64, 3, 3, 3), **normalisation("bn1", 64), "prelu.weight": (64,)}
    inputs = 64
    for place, (width, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True), 1):
        for block in range(count):
            name = f"layer{place}.{block}"
            shapes |= normalisation(f"{name}.bn1", inputs) | {f"{name}.conv1.weight": (width, inputs, 3, 3)}
            shapes |= normalisation(f"{name}.bn2", width) | {f"{name}.prelu.weight": (width,)}
            shapes |= {f"{name}.conv2.weight": (width, width, 3, 3)} | normalisation(f"{name}.bn3", width)
            if block == 0:
                shapes |= {f"{name}.downsample.0.weight": (width, inputs, 1, 1)}
                shapes |= normalisation(f"{name}.downsample.1", width)
            inputs = width
    shapes |= normalisation("bn2", 512) | {"fc.weight": (512, 25088), "fc.bias": (512,)}
    return shapes | normalisation("features", 512)


def hyperiqa_shapes() -> Shapes:
    """koniq_pretrained.pkl: torchvision's ResNet50 without its classifier, and the layers of the paper."""
    shapes: Shapes = {"res.conv1.weight": (64, 3, 7, 7), **normalisation("res.bn1", 64)}
    inputs = 64
    for place, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(count):
            name = f"res.layer{place}.{block}"
            for number, shape in enumerate(((width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)), 1):
                shapes |= {f"{name}.conv{number}.weight": shape} | normalisation(f"{name}.bn{number}", shape[0])
            if block == 0:
                shapes |= {f"{name}.downsample.0.weight": (4 * width, inputs, 1, 1)}
                shapes |= normalisation(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    for place, (seen, inputs, cells) in enumerate(((16, 256, 64), (32, 512, 16), (64, 1024, 4)), 1):
        shapes |= {f"res.lda{place}_pool.0.weight": (seen, inputs, 1, 1)}
        shapes |= {f"res.lda{place}_fc.weight": (16, seen * cells), f"res.lda{place}_fc.bias": (16,)}
    shapes |= {"res.lda4_fc.weight": (176, 2048), "res.lda4_fc.bias": (176,)}
    for place, (outputs, inputs) in zip((0, 2, 4), ((1024, 2048), (512, 1024), (112, 512)), strict=True):
        shapes |= {f"conv1.{place}.weight": (outputs, inputs, 1, 1), f"conv1.{place}.bias": (outputs,)}
    for place, (outputs, width) in enumerate(((512, 112), (128, 56), (32, 28), (8, 14)), 1):
        shapes |= {f"fc{place}w_conv.weight": (outputs, 112, 3, 3), f"fc{place}w_conv.bias": (outputs,)}
        shapes |= {f"fc{place}b_fc.weight": (width, 112), f"fc{place}b_fc.bias": (width,)}
    shapes |= {"fc5w_fc.weight": (14, 112), "fc5w_fc.bias": (14,)}
    return shapes | {"fc5b_fc.weight": (1, 112), "fc5b_fc.bias": (1,)}
