"""SyncNet: a fifth of a second of lips and of sound as two vectors that lie close where they belong together.

J. S. Chung and A. Zisserman, "Out of time: automated lip sync in the wild", 2016; layers and parameter names are those
of the published weights `syncnet_v2.model`.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from fye_model.evaluation.graphs.running import filled
from fye_model.networks.weights import read_weights

SIDE_PX = 224
FRAMES = 5  # of a window, at 25 frames a second
STEPS = 20  # of the sound's coefficients, at 100 a second
NUMBERS = 1024
_TIME = 1  # kernel or stride along time from the second convolution on: each window is seen for itself


class SyncNet(nn.Module):
    """Two convolutional networks without shared weights. width: of every layer, as a share of the published one."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self._full = width == 1.0

        def of(channels: int) -> int:
            return max(1, round(channels * width))

        self.netcnnaud = nn.Sequential(
            *_flat(1, of(64), 3, padding=1),
            nn.Identity(),  # layers are numbered as in the weights: a pool of one cell is there
            *_flat(of(64), of(192), 3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_flat(of(192), of(384), 3, padding=1),
            *_flat(of(384), of(256), 3, padding=1),
            *_flat(of(256), of(256), 3, padding=1),
            nn.MaxPool2d(3, 2),
            *_flat(of(256), of(512), (5, 4), padding=0),
        )
        self.netcnnlip = nn.Sequential(
            *_deep(3, of(96), (FRAMES, 7, 7), stride=2),
            nn.MaxPool3d((_TIME, 3, 3), (_TIME, 2, 2)),
            *_deep(of(96), of(256), (_TIME, 5, 5), stride=2, padding=1),
            nn.MaxPool3d((_TIME, 3, 3), (_TIME, 2, 2), (0, 1, 1)),
            *_deep(of(256), of(256), (_TIME, 3, 3), padding=1),
            *_deep(of(256), of(256), (_TIME, 3, 3), padding=1),
            *_deep(of(256), of(256), (_TIME, 3, 3), padding=1),
            nn.MaxPool3d((_TIME, 3, 3), (_TIME, 2, 2)),
            *_deep(of(256), of(512), (_TIME, 6, 6)),
        )
        self.netfcaud, self.netfclip = (_head(of(512), of(NUMBERS)) for _ in range(2))

    def sound(self, coefficients: Tensor) -> Tensor:
        """(b, 1, 13, 20) -> (b, 1024)."""
        return Tensor(self.netfcaud(self.netcnnaud(coefficients).flatten(1)))

    def lips(self, frames: Tensor) -> Tensor:
        """Frames of one clip (3, f, 224, 224), blue first, from 0 to 255 -> (f - 4, 1024), one a window."""
        seen = self.netcnnlip(frames[None])
        return Tensor(self.netfclip(seen[0, :, :, 0, 0].T))


def read_syncnet(path: Path) -> SyncNet:
    """The published weights in their network. Raises ValueError for a file that is damaged or of another network."""
    return filled(SyncNet(), read_weights(path), str(path))


def _flat(inputs: int, outputs: int, kernel: int | tuple[int, int], padding: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


def _deep(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0
) -> tuple[nn.Module, ...]:
    steps, edges = (_TIME, stride, stride), (0, padding, padding)
    return nn.Conv3d(inputs, outputs, kernel, steps, edges), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)


def _head(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, inputs), nn.BatchNorm1d(inputs), nn.ReLU(inplace=True), nn.Linear(inputs, outputs)
    )
