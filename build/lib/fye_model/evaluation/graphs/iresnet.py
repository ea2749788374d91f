"""IResNet50 and IResNet100, which ArcFace's published weights are of (Deng et al. 2019; InsightFace).

Files: InsightFace's ONNX models (`w600k_r50.onnx` of the pack buffalo_l, `glintr100.onnx` of antelopev2), or a torch
file of its training code (`conv1.weight`, `layer1.0.bn1.weight` … `features.weight`). Faces go in aligned, 112 pixels,
red first, from -1 to 1; 512 numbers come out, compared by the cosine of their angle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fye_model.evaluation.graphs.onnx_weights import Step, is_onnx, read_steps
from fye_model.evaluation.graphs.running import as_batch, filled, measuring
from fye_model.networks.weights import read_weights

SIZE_PX, NUMBERS = 112, 512
BLOCKS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}  # in each of the four layers
_WIDTHS = (64, 128, 256, 512)
_EPSILON = 1e-5


class _Block(nn.Module):
    """Normalised before the first convolution, added to its input without a ReLU behind."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs, eps=_EPSILON)
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=_EPSILON)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width, eps=_EPSILON)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width, eps=_EPSILON)
            )

    def forward(self, x: Tensor) -> Tensor:
        aside = x if self.downsample is None else self.downsample(x)
        x = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return torch.as_tensor(self.bn3(self.conv2(x)) + aside)


class IResNet(nn.Module):
    """The network; parameters have the names of InsightFace's training code."""

    def __init__(self, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps=_EPSILON)
        self.prelu = nn.PReLU(64)
        inputs = 64
        for place, (width, count) in enumerate(zip(_WIDTHS, blocks, strict=True), 1):
            others = (_Block(width, width, 1) for _ in range(1, count))
            self.add_module(f"layer{place}", nn.Sequential(_Block(inputs, width, 2), *others))
            inputs = width
        self.bn2 = nn.BatchNorm2d(inputs, eps=_EPSILON)
        self.fc = nn.Linear(inputs * 7 * 7, NUMBERS)
        self.features = nn.BatchNorm1d(NUMBERS, eps=_EPSILON)

    @property
    def layers(self) -> list[nn.Module]:
        """The four layers in order."""
        return [self.get_submodule(f"layer{place}") for place in range(1, 5)]

    def forward(self, faces: Tensor) -> Tensor:
        """Faces (b, 3, 112, 112) from -1 to 1 -> (b, 512)."""
        x = self.prelu(self.bn1(self.conv1(faces)))
        for layer in self.layers:
            x = layer(x)
        return torch.as_tensor(self.features(self.fc(self.bn2(x).flatten(1))))


def read_iresnet(path: Path) -> IResNet:
    """IResNet50 or 100, whichever a file holds.

    Raises ValueError for a file that is damaged or of another network, ModuleNotFoundError for an ONNX file where the
    package `onnx` is not installed.
    """
    return _from_onnx(path) if is_onnx(path) else _from_torch(path)


def embeddings(network: IResNet, faces: np.ndarray) -> np.ndarray:
    """Aligned faces (f, 112, 112, 3) uint8 -> embeddings of length one (f, 512), one face at a time."""
    with measuring():
        found = torch.cat([network(face) for face in (as_batch(faces) * 2 - 1).split(1)]).double()
        return np.asarray(nn.functional.normalize(found).numpy())


def _from_torch(path: Path) -> IResNet:
    state = read_weights(path)
    counts = [len({name.split(".")[1] for name in state if name.startswith(f"layer{n}.")}) for n in range(1, 5)]
    return filled(_sized(counts, path), state, str(path))


def _from_onnx(path: Path) -> IResNet:
    """The graph's weighted steps in order, laid on the network's; convolutions hold the normalisation after them."""
    steps = read_steps(path)
    # four steps a block, one more where a layer begins, two before and three behind
    counts = {depth: 4 * sum(blocks) + 9 for depth, blocks in BLOCKS.items()}
    depth = next((depth for depth, count in counts.items() if count == len(steps)), None)
    if depth is None:
        raise ValueError(
            f"{path} has {len(steps)} steps with weights; an IResNet50 has {counts[50]}, an IResNet100 {counts[100]}"
        )
    network = IResNet(BLOCKS[depth])
    state: dict[str, Tensor] = {}
    for place, ((kind, names), step) in enumerate(zip(_plan(network), steps, strict=True)):
        if step.kind != kind:
            raise ValueError(f"{path}: step {place} is a {step.kind}, an IResNet{depth} has a {kind} there")
        state |= _tensors(names, step)
    return filled(network, state, str(path))


def _plan(network: IResNet) -> list[tuple[str, tuple[str, ...]]]:
    """Steps with weights in the order in which an export has them: their kind, and the modules that they fill."""
    plan = [("Conv", ("conv1", "bn1")), ("PRelu", ("prelu",))]
    for name, block in network.named_modules():
        if isinstance(block, _Block):
            plan += [
                ("BatchNormalization", (f"{name}.bn1",)),
                ("Conv", (f"{name}.conv1", f"{name}.bn2")),
                ("PRelu", (f"{name}.prelu",)),
                ("Conv", (f"{name}.conv2", f"{name}.bn3")),
            ]
            if block.downsample is not None:
                plan.append(("Conv", (f"{name}.downsample.0", f"{name}.downsample.1")))
    return [*plan, ("BatchNormalization", ("bn2",)), ("Gemm", ("fc",)), ("BatchNormalization", ("features",))]


def _tensors(names: tuple[str, ...], step: Step) -> dict[str, Tensor]:
    """A step's tensors under the names of the modules that they fill."""
    name = names[0]
    tensors = [torch.from_numpy(array.astype(np.float32)) for array in step.tensors]
    if step.kind == "PRelu":
        return {f"{name}.weight": tensors[0].flatten()}
    if step.kind == "Gemm":
        return {f"{name}.weight": tensors[0], f"{name}.bias": tensors[1]}
    if step.kind == "BatchNormalization":
        return _normalisation(name, *tensors)
    weight, bias = tensors
    # the normalisation is in the convolution already: what is left of it adds the bias
    return {f"{name}.weight": weight} | _normalisation(
        names[1], torch.ones_like(bias), bias, torch.zeros_like(bias), torch.full_like(bias, 1 - _EPSILON)
    )


def _normalisation(name: str, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> dict[str, Tensor]:
    values = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance}
    return {f"{name}.{part}": value for part, value in values.items()}


def _sized(counts: list[int], path: Path) -> IResNet:
    for blocks in BLOCKS.values():
        if tuple(counts) == blocks:
            return IResNet(blocks)
    known = ", ".join(f"{blocks} (IResNet{depth})" for depth, blocks in BLOCKS.items())
    raise ValueError(f"{path} has {tuple(counts)} blocks in its four layers; known are {known}")
