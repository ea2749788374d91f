"""LPIPS takes the published files, computes what the paper says, and is a distance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage import data
from torch.nn import functional

from fye_model.evaluation.graphs.lpips import Kind, Lpips, distances, read_lpips
from tests.fye_model.evaluation.graphs.published import LINEAR, VGG16, drawn, lpips_files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return lpips_files(tmp_path_factory.mktemp("lpips"))


@pytest.fixture(scope="module")
def network(files: tuple[Path, Path]) -> Lpips:
    return read_lpips("alexnet", *files)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[:96, 150:246])[None]


def test_parameters_are_those_of_the_published_files() -> None:
    vgg = {name: tuple(value.shape) for name, value in Lpips("vgg16").state_dict().items()}
    assert vgg == {**VGG16, **LINEAR["vgg16"]}
    counts = {
        kind: sum(value.numel() for name, value in Lpips(kind).named_parameters() if name.startswith("features"))
        for kind in ("alexnet", "vgg16")
    }
    assert counts == {"alexnet": 2_469_696, "vgg16": 14_714_688}  # torchvision's, without their classifiers


def test_a_picture_is_at_nothing_from_itself_and_two_are_as_far_both_ways(network: Lpips, picture: np.ndarray) -> None:
    blurred = [gaussian_filter(picture, (0, sigma, sigma, 0)) for sigma in (1, 3)]
    assert distances(network, picture, picture)[0] == 0
    there = [distances(network, picture, other)[0] for other in blurred]
    assert there == [distances(network, other, picture)[0] for other in blurred]
    assert 0 < there[0] < there[1]


def test_it_is_the_formula_of_the_paper(files: tuple[Path, Path], network: Lpips, picture: np.ndarray) -> None:
    """Written out for AlexNet with plain functions, from the tensors in the files."""
    state = {**torch.load(files[0]), **torch.load(files[1])}

    def seen(frames: np.ndarray) -> list[torch.Tensor]:
        x = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()).double() / 127.5 - 1
        x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[
            :, None, None
        ]
        found = []
        for place, stride, padding, pooled in ((0, 4, 2, 0), (3, 1, 2, 1), (6, 1, 1, 1), (8, 1, 1, 0), (10, 1, 1, 0)):
            x = functional.max_pool2d(x, 3, 2) if pooled else x
            weight, bias = (state[f"features.{place}.{part}"].double() for part in ("weight", "bias"))
            x = functional.conv2d(x, weight, bias, stride, padding).relu()
            found.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return found

    other = 255 - picture
    expected = 0.0
    for place, (ours, theirs) in enumerate(zip(seen(picture), seen(other), strict=True)):
        weight = state[f"lin{place}.model.1.weight"].double()
        expected += float(functional.conv2d((ours - theirs) ** 2, weight).mean())
    assert distances(network, picture, other)[0] == pytest.approx(expected, rel=1e-4)


def test_digits_depend_neither_on_the_batch_nor_on_threads(network: Lpips, picture: np.ndarray) -> None:
    many = np.concatenate([picture, 255 - picture, picture[:, ::-1]])
    shuffled = many[[2, 0, 1]]
    together = distances(network, many, shuffled)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        alone = [distances(network, many[i : i + 1], shuffled[i : i + 1])[0] for i in range(3)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert list(together) == alone


@pytest.mark.parametrize("kind", ["alexnet", "vgg16"])
def test_files_of_another_backbone_are_refused_by_name_and_shape(kind: Kind, files: tuple[Path, Path]) -> None:
    if kind == "vgg16":
        with pytest.raises(ValueError, match=r"does not fit: .*missing: features"):
            read_lpips(kind, *files)
    else:
        with pytest.raises(ValueError, match=r"missing: lin0.model.1.weight"):
            read_lpips(kind, files[0], files[0])


def test_linear_layers_below_zero_and_files_that_carry_code_are_refused(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    torch.save(drawn(LINEAR["alexnet"]), tmp_path / "negative.pth")
    with pytest.raises(ValueError, match="has negative weights"):
        read_lpips("alexnet", files[0], tmp_path / "negative.pth")
    torch.save(Lpips("alexnet"), tmp_path / "module.pth")
    with pytest.raises(ValueError, match="code inside it is refused"):
        read_lpips("alexnet", tmp_path / "module.pth", files[1])


def test_pictures_too_small_to_be_seen_are_refused(network: Lpips) -> None:
    small = np.zeros((1, 16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 32 pixels"):
        distances(network, small, small)
