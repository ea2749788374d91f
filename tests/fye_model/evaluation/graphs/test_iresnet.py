"""IResNet takes a torch file and an ONNX file of the same weights, and gives the same embeddings of length one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fye_model.evaluation.graphs.iresnet import BLOCKS, IResNet, embeddings, read_iresnet
from tests.fye_model.evaluation.graphs.published import drawn, iresnet_shapes

_PACK_BYTES = 174_383_860  # of the published w600k_r50.onnx, nearly all of them weights


class Export:
    """An ONNX file as torch exports the network for use: normalisations behind convolutions are part of these."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.onnx = pytest.importorskip("onnx")
        self.state, self.nodes, self.values = state, [], []
        self.last = "input"

    def add(self, kind: str, inputs: list[str], tensors: list[Tensor], **attributes: Any) -> str:
        names = []
        for tensor in tensors:
            names.append(f"w{len(self.values)}")
            self.values.append(self.onnx.numpy_helper.from_array(tensor.numpy(), names[-1]))
        output = f"x{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, [*inputs, *names], [output], **attributes))
        return output

    def normalised(self, x: str, name: str) -> str:
        parts = ("weight", "bias", "running_mean", "running_var")
        return self.add("BatchNormalization", [x], [self.state[f"{name}.{part}"] for part in parts])

    def convolved(self, x: str, convolution: str, normalisation: str, stride: int) -> str:
        weight, scale, bias, mean, variance = (
            self.state[name].double()
            for name in (
                f"{convolution}.weight",
                *(f"{normalisation}.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
            )
        )
        factor = scale / (variance + 1e-5).sqrt()
        tensors = [(weight * factor[:, None, None, None]).float(), (bias - mean * factor).float()]
        padding = weight.shape[2] // 2
        return self.add("Conv", [x], tensors, strides=[stride, stride], pads=[padding] * 4)

    def bent(self, x: str, name: str) -> str:
        return self.add("PRelu", [x], [self.state[f"{name}.weight"][:, None, None]])

    def write(self, path: Path, blocks: tuple[int, ...]) -> None:
        x = self.bent(self.convolved("input", "conv1", "bn1", 1), "prelu")
        for layer, count in enumerate(blocks, 1):
            for block in range(count):
                name, stride = f"layer{layer}.{block}", 1 if block else 2
                y = self.bent(
                    self.convolved(self.normalised(x, f"{name}.bn1"), f"{name}.conv1", f"{name}.bn2", 1),
                    f"{name}.prelu",
                )
                y = self.convolved(y, f"{name}.conv2", f"{name}.bn3", stride)
                aside = x if block else self.convolved(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
                x = self.add("Add", [y, aside], [])
        x = self.add("Flatten", [self.normalised(x, "bn2")], [])
        x = self.normalised(
            self.add("Gemm", [x], [self.state["fc.weight"], self.state["fc.bias"]], transB=1), "features"
        )
        self.save(path)

    def save(self, path: Path) -> None:
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        ends = [helper.make_tensor_value_info(name, kind, None) for name in ("input", self.nodes[-1].output[0])]
        graph = helper.make_graph(self.nodes, "network", ends[:1], ends[1:], self.values)
        self.onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)]), path)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return drawn(iresnet_shapes(BLOCKS[50]), scale=0.7)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> IResNet:
    path = tmp_path_factory.mktemp("arcface") / "backbone.pth"
    torch.save(state, path)
    return read_iresnet(path)


@pytest.mark.parametrize(("depth", "parameters"), [(50, 43_590_848), (100, 65_156_160)])
def test_the_parameters_are_those_of_the_published_networks(depth: int, parameters: int) -> None:
    with torch.device("meta"):
        network = IResNet(BLOCKS[depth])
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == iresnet_shapes(BLOCKS[depth])
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_embeddings_have_length_one_and_do_not_depend_on_the_batch(network: IResNet, faces: np.ndarray) -> None:
    found = embeddings(network, faces)
    assert found.shape == (2, 512) and np.allclose(np.linalg.norm(found, axis=1), 1)
    assert (embeddings(network, faces[1:])[0] == found[1]).all()
    assert found[0] @ found[0] == pytest.approx(1) and abs(found[0] @ found[1]) < 0.999


def test_the_onnx_file_of_the_pack_is_the_same_network(
    state: dict[str, Tensor], network: IResNet, faces: np.ndarray, tmp_path: Path
) -> None:
    export = Export(state)
    export.write(tmp_path / "w600k_r50.onnx", BLOCKS[50])
    ours, theirs = embeddings(network, faces), embeddings(read_iresnet(tmp_path / "w600k_r50.onnx"), faces)
    assert (ours * theirs).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert np.abs(ours - theirs).max() < 1e-3 < np.abs(ours[0] - ours[1]).max()
    assert (tmp_path / "w600k_r50.onnx").stat().st_size == pytest.approx(_PACK_BYTES, rel=1e-4)


def test_it_computes_what_the_exported_graph_does(tmp_path: Path) -> None:
    """One block a layer, against ONNX's own reference of every operation."""
    blocks = (1, 1, 1, 1)
    small = drawn(iresnet_shapes(blocks), scale=0.7)
    export = Export(small)
    export.write(tmp_path / "small.onnx", blocks)
    network = IResNet(blocks).eval()
    network.load_state_dict(small)
    faces = torch.rand((1, 3, 112, 112), generator=torch.Generator().manual_seed(0)) * 2 - 1
    reference = pytest.importorskip("onnx.reference").ReferenceEvaluator(str(tmp_path / "small.onnx"))
    with torch.inference_mode():
        ours, theirs = network(faces).numpy(), reference.run(None, {"input": faces.numpy()})[0]
    assert ours.std() > 0.1 and np.abs(ours - theirs).max() < 1e-3


def test_an_onnx_file_of_another_network_says_where_it_differs(state: dict[str, Tensor], tmp_path: Path) -> None:
    fewer = Export(state)
    fewer.bent(fewer.convolved("input", "conv1", "bn1", 1), "prelu")
    fewer.save(tmp_path / "fewer.onnx")
    with pytest.raises(ValueError, match="has 2 steps with weights; an IResNet50 has 105, an IResNet100 205"):
        read_iresnet(tmp_path / "fewer.onnx")
    other = Export(state)
    other.add("Conv", ["input"], [state["conv1.weight"]])
    other.save(tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"step 0 \(Conv\) has 1 tensors"):
        read_iresnet(tmp_path / "other.onnx")
    (tmp_path / "page.onnx").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="cannot be read as ONNX"):
        read_iresnet(tmp_path / "page.onnx")


def test_a_torch_file_of_another_depth_says_which_are_known(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({name: value for name, value in state.items() if not name.startswith("layer3.13")}, tmp_path / "34.pth")
    with pytest.raises(ValueError, match=r"\(3, 4, 13, 3\) blocks.*\(3, 4, 14, 3\) \(IResNet50\)"):
        read_iresnet(tmp_path / "34.pth")
