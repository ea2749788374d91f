"""I3D (Carreira and Zisserman 2017), RGB, trained on Kinetics-400: what FVD compares videos by.

Accepted is a file with the tensors of DeepMind's network under the names of its usual conversion to PyTorch
(`Conv3d_1a_7x7.conv3d.weight` … `Mixed_5c.b3b.bn.bias`, `logits.conv3d.weight`; published as `rgb_imagenet.pt` and as
`i3d_pretrained_400.pt`). A TorchScript archive of it (`i3d_torchscript.pt`) is refused: it is a program, and no program
from elsewhere is run here.

Convolutions and pools pad as TensorFlow's SAME does. FVD reads the 400 logits, averaged over time, of frames brought to
224 pixels and to -1 to 1 (Unterthiner et al. 2019).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fye_model.evaluation.graphs.running import as_batch, filled, measuring
from fye_model.networks.weights import read_weights

SIZE_PX, LOGITS = 224, 400
FEWEST_FRAMES = 9  # 8 frames become one moment, and the last pool wants two
_Three = tuple[int, int, int]


class _Same(nn.Module):
    """Zeros around a video as TensorFlow's SAME has them: the odd one at the end."""

    def __init__(self, kernel: _Three, stride: _Three) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, video: Tensor) -> Tensor:
        sides: list[int] = []
        for length, kernel, stride in zip(video.shape[2:], self.kernel, self.stride, strict=True):
            whole = max(kernel - (length % stride or stride), 0)
            sides = [whole // 2, whole - whole // 2, *sides]
        return functional.pad(video, sides)


class _Unit(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.pad = _Same((kernel,) * 3, (stride,) * 3)
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3)

    def forward(self, video: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv3d(self.pad(video))))


class _Pool(nn.Sequential):
    """The largest value; what comes in is never below the zeros that pad it."""

    def __init__(self, kernel: _Three, stride: _Three) -> None:
        super().__init__(_Same(kernel, stride), nn.MaxPool3d(kernel, stride))


class _Mixed(nn.Module):
    """Four branches side by side. widths: of their convolutions, in the order of the file."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = _Unit(inputs, widths[0])
        self.b1a, self.b1b = _Unit(inputs, widths[1]), _Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = _Unit(inputs, widths[3]), _Unit(widths[3], widths[4], 3)
        self.b3a, self.b3b = _Pool((3, 3, 3), (1, 1, 1)), _Unit(inputs, widths[5])

    def forward(self, video: Tensor) -> Tensor:
        branches = [self.b0(video), self.b1b(self.b1a(video)), self.b2b(self.b2a(video)), self.b3b(self.b3a(video))]
        return torch.cat(branches, dim=1)


class _Logits(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, LOGITS, 1)


_MIXED: dict[str, tuple[int, ...]] = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
_POOLS: dict[str, tuple[_Three, _Three]] = {
    "4": ((3, 3, 3), (2, 2, 2)),
    "5": ((2, 2, 2), (2, 2, 2)),
}


class I3d(nn.Module):
    """The network; parameters have the names of the file."""

    def __init__(self) -> None:
        super().__init__()
        over: tuple[_Three, _Three] = ((1, 3, 3), (1, 2, 2))
        stem: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": _Unit(3, 64, 7, 2),
            "MaxPool3d_2a_3x3": _Pool(*over),
            "Conv3d_2b_1x1": _Unit(64, 64),
            "Conv3d_2c_3x3": _Unit(64, 192, 3),
            "MaxPool3d_3a_3x3": _Pool(*over),
        }
        inputs = 192
        for name, widths in _MIXED.items():
            if name[1] == "b" and name[0] in _POOLS:
                stem[f"MaxPool3d_{name[0]}a"] = _Pool(*_POOLS[name[0]])
            stem[f"Mixed_{name}"] = _Mixed(inputs, widths)
            inputs = widths[0] + widths[2] + widths[4] + widths[5]
        for name, module in stem.items():
            self.add_module(name, module)
        self.order = tuple(stem)
        self.logits = _Logits(inputs)

    def forward(self, video: Tensor) -> Tensor:
        """Videos (b, 3, f, 224, 224) from -1 to 1 -> logits (b, 400), averaged over time."""
        for name in self.order:
            video = self.get_submodule(name)(video)
        moments = functional.avg_pool3d(video, (2, 7, 7), stride=1)
        return torch.as_tensor(self.logits.conv3d(moments)).mean(dim=(2, 3, 4))


def read_i3d(path: Path) -> I3d:
    """I3D with the weights of a file.

    Raises ValueError for a TorchScript archive, and for a file that is damaged or of another network.
    """
    if is_torchscript(path):
        raise ValueError(
            f"{path} is a TorchScript archive, a program that would have to be run. Expected is a file of tensors with "
            "the names of the usual conversion (rgb_imagenet.pt or i3d_pretrained_400.pt, or .safetensors of it)"
        )
    return filled(I3d(), read_weights(path), str(path))


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive; nothing of it is loaded."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())


def logits(network: I3d, frames: np.ndarray) -> np.ndarray:
    """What the network sees in a video (f, h, w, 3) uint8: (400,).

    Raises ValueError for fewer than `FEWEST_FRAMES` frames, and for pictures that are not square.
    """
    if len(frames) < FEWEST_FRAMES or frames.shape[1] != frames.shape[2]:
        raise ValueError(f"I3D needs at least {FEWEST_FRAMES} square frames, got {frames.shape}")
    with measuring():
        small = functional.interpolate(as_batch(frames), size=(SIZE_PX, SIZE_PX), mode="bilinear", align_corners=False)
        found = network((small * 2 - 1).transpose(0, 1)[None])
    return np.asarray(found[0].numpy(), np.float64)
