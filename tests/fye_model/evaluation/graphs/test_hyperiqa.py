"""HyperIQA takes the published file, makes the small network's weights from the picture, and looks at fixed patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch.nn import functional

from fye_model.evaluation.graphs.hyperiqa import HyperIqa, patches, quality, read_hyperiqa
from tests.fye_model.evaluation.graphs.published import drawn, hyperiqa_shapes


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> HyperIqa:
    path = tmp_path_factory.mktemp("hyperiqa") / "koniq_pretrained.pkl"
    torch.save(drawn(hyperiqa_shapes(), scale=0.9), path)
    # of the published file's 109,768,650 bytes all but the names are these weights
    assert path.stat().st_size == pytest.approx(109_768_650, rel=1e-3)
    return read_hyperiqa(path)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[::2, ::2])


def test_the_parameters_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        found = {name: tuple(value.shape) for name, value in HyperIqa().state_dict().items()}
    assert found == hyperiqa_shapes()


def test_the_score_is_that_of_a_network_whose_weights_the_picture_makes(network: HyperIqa, picture: np.ndarray) -> None:
    """The small network as grouped convolutions of one pixel, as the paper's authors write it."""
    patch = patches(picture)[4]
    with torch.inference_mode():
        features, seen = network.res(patch)
        hyper = network.conv1(features)
        mean = functional.adaptive_avg_pool2d(hyper, 1).flatten(1)
        x = seen[0][:, None, None]
        for place, (inputs, outputs) in enumerate(((224, 112), (112, 56), (56, 28), (28, 14)), 1):
            weight = network.get_submodule(f"fc{place}w_conv")(hyper).view(outputs, inputs, 1, 1)
            bias = network.get_submodule(f"fc{place}b_fc")(mean).flatten()
            x = functional.conv2d(x[None], weight, bias)[0].sigmoid()
        expected = functional.conv2d(x[None], network.fc5w_fc(mean).view(1, 14, 1, 1), network.fc5b_fc(mean).flatten())
        assert float(network(patch)) == pytest.approx(float(expected), rel=1e-4)


def test_a_bottleneck_is_torchvisions(network: HyperIqa) -> None:
    """The first of the second layer, which halves: by its convolution of three pixels."""
    state = network.state_dict()
    x = torch.rand((1, 256, 8, 8), generator=torch.Generator().manual_seed(0))

    def normal(x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias, mean, variance = (
            state[f"res.layer2.0.{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return functional.batch_norm(x, mean, variance, weight, bias)

    def convolved(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight = state[f"res.layer2.0.{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    y = normal(convolved(x, "conv1"), "bn1").relu()
    y = normal(convolved(y, "conv2", 2), "bn2").relu()
    y = normal(convolved(y, "conv3"), "bn3") + normal(convolved(x, "downsample.0", 2), "downsample.1")
    with torch.inference_mode():
        assert torch.allclose(network.res.get_submodule("layer2.0")(x), y.relu(), atol=1e-5)


def test_the_same_picture_has_the_same_score_and_another_has_another(network: HyperIqa, picture: np.ndarray) -> None:
    assert quality(network, picture) == quality(network, picture.copy())
    assert abs(quality(network, 255 - picture) - quality(network, picture)) > 1e-6


def test_nine_patches_reach_every_corner_whatever_the_size(picture: np.ndarray) -> None:
    for shape in ((256, 256), (100, 160), (600, 400)):
        found = patches(np.resize(picture, (*shape, 3)))
        assert [tuple(patch.shape) for patch in found] == [(1, 3, 224, 224)] * 9
    white = np.full((256, 256, 3), 255, np.uint8)
    expected = [(1 - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert patches(white)[0][0, :, 0, 0].tolist() == pytest.approx(expected)
    corners = np.zeros((384, 384, 3), np.uint8)
    corners[:8, :8], corners[-8:, -8:] = 255, 255
    lit = [bool((patch.max() > 2).item()) for patch in patches(corners)]
    assert lit == [True, *[False] * 7, True]


def test_a_file_that_lacks_a_layer_is_refused(tmp_path: Path) -> None:
    state = drawn({name: shape for name, shape in hyperiqa_shapes().items() if not name.startswith("fc3b")})
    torch.save(state, tmp_path / "part.pkl")
    with pytest.raises(ValueError, match=r"2 missing: fc3b_fc.bias, fc3b_fc.weight"):
        read_hyperiqa(tmp_path / "part.pkl")
