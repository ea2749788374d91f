"""I3D takes the published tensors, pads as TensorFlow does, and no program from elsewhere is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fye_model.evaluation.graphs.i3d import FEWEST_FRAMES, I3d, _Same, is_torchscript, logits, read_i3d
from tests.fye_model.evaluation.graphs.published import drawn, i3d_shapes


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("i3d") / "i3d_pretrained_400.pt"
    torch.save(drawn(i3d_shapes()), path)
    return path


def test_the_parameters_are_those_of_the_published_network() -> None:
    found = {name: tuple(value.shape) for name, value in I3d().state_dict().items()}
    counters = {name for name in found if name.endswith("num_batches_tracked")}
    assert {name: shape for name, shape in found.items() if name not in counters} == i3d_shapes()
    assert sum(parameter.numel() for parameter in I3d().parameters()) == 12_697_264


def test_a_video_becomes_400_numbers_that_time_and_size_are_taken_out_of(weights: Path) -> None:
    network = read_i3d(weights)
    video = np.random.default_rng(0).integers(0, 256, (10, 48, 48, 3), dtype=np.uint8)
    found = logits(network, video)
    assert found.shape == (400,) and np.isfinite(found).all() and found.std() > 0
    assert np.abs(logits(network, np.ascontiguousarray(video[::-1])) - found).max() > 1e-4, (
        "the order of frames is seen"
    )
    features = _before_logits(network, 16)
    assert features.shape == (1, 1024, 2, 7, 7)


def test_the_last_layer_is_the_mean_over_moments_of_a_pool_over_two(weights: Path) -> None:
    network = read_i3d(weights)
    features = _before_logits(network, 24)  # three moments, two pools
    pools = [features[:, :, at : at + 2].mean(dim=(2, 3, 4)) for at in (0, 1)]
    weight, bias = network.logits.conv3d.weight.flatten(1), network.logits.conv3d.bias
    expected = torch.stack([pool @ weight.T + bias for pool in pools]).mean(dim=0)
    with torch.inference_mode():
        assert torch.allclose(network(_video(24)), expected, atol=1e-3)


def test_a_mixed_block_has_four_branches_in_the_order_of_the_paper(weights: Path) -> None:
    """Written out from the tensors of the file; odd sizes, so that every padding is the same on both sides."""
    state = torch.load(weights)
    x = torch.rand((1, 192, 3, 5, 5), generator=torch.Generator().manual_seed(0))

    def unit(name: str, x: torch.Tensor) -> torch.Tensor:
        weight, scale, bias, mean, variance = (
            state[f"Mixed_3b.{name}.{part}"]
            for part in ("conv3d.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        )
        x = nn.functional.conv3d(x, weight, padding=weight.shape[-1] // 2)
        return nn.functional.batch_norm(x, mean, variance, scale, bias, eps=1e-3).relu()

    pooled = nn.functional.max_pool3d(x, 3, stride=1, padding=1)
    branches = [unit("b0", x), unit("b1b", unit("b1a", x)), unit("b2b", unit("b2a", x)), unit("b3b", pooled)]
    with torch.inference_mode():
        assert torch.allclose(read_i3d(weights).get_submodule("Mixed_3b")(x), torch.cat(branches, 1), atol=1e-5)


def _video(frames: int) -> torch.Tensor:
    return torch.rand((1, 3, frames, 224, 224), generator=torch.Generator().manual_seed(frames)) * 2 - 1


def _before_logits(network: I3d, frames: int) -> torch.Tensor:
    with torch.inference_mode():
        x = _video(frames)
        for name in network.order:
            x = network.get_submodule(name)(x)
    return x


@pytest.mark.parametrize(("length", "kernel", "stride"), [(224, 7, 2), (224, 3, 2), (7, 3, 2), (5, 2, 2), (9, 3, 1)])
def test_padding_is_tensorflows_same(length: int, kernel: int, stride: int) -> None:
    padded = _Same((1, 1, kernel), (1, 1, stride))(torch.ones(1, 1, 1, 1, length))[0, 0, 0, 0]
    outputs = -(-length // stride)
    total = max((outputs - 1) * stride + kernel - length, 0)
    assert padded.tolist() == [0.0] * (total // 2) + [1.0] * length + [0.0] * (total - total // 2)
    assert nn.functional.max_pool1d(padded[None, None], kernel, stride).shape[-1] == outputs


def test_a_torchscript_archive_is_refused_unread_and_the_message_says_what_is_accepted(tmp_path: Path) -> None:
    script = torch.jit.script(nn.Linear(2, 2))
    script.save(str(tmp_path / "i3d_torchscript.pt"))
    with pytest.raises(ValueError, match=r"TorchScript archive.*rgb_imagenet.pt or i3d_pretrained_400.pt"):
        read_i3d(tmp_path / "i3d_torchscript.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "tensors.pt")
    assert not is_torchscript(tmp_path / "tensors.pt")
    with pytest.raises(ValueError, match=r"missing: Conv3d_1a_7x7"):
        read_i3d(tmp_path / "tensors.pt")


def test_too_few_frames_and_wide_ones_are_refused() -> None:
    network = I3d()
    for shape in ((FEWEST_FRAMES - 1, 32, 32, 3), (16, 32, 48, 3)):
        with pytest.raises(ValueError, match="at least 9 square frames"):
            logits(network, np.zeros(shape, np.uint8))
