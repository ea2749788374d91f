"""Where the adaptations are idle, the networks compute what diffusers' own forward passes compute."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import UNet2DConditionModel, UNetMotionModel
from torch import nn

from fye_model.networks import Networks
from fye_model.networks.motion import FrameGroupNorm

Make = Callable[..., Networks]


def stock(model_class: Any, unet: nn.Module, **changes: Any) -> Any:
    """A network of diffusers' own with the weights of one of ours."""
    model = model_class.from_config({**unet.config, **changes}).eval()
    model.load_state_dict(unet.state_dict(), strict=False)
    return model


@torch.no_grad()
def test_one_frame_is_denoised_as_by_the_stock_video_unet(make_networks: Make, inputs: SimpleNamespace) -> None:
    """With one frame, statistics over frames and over one frame are the same."""
    networks = make_networks()
    model = stock(UNetMotionModel, networks.denoiser.unet)
    context = networks.image_prompt(inputs.tokens, "denoiser")
    noisy = inputs.noisy[:, :, :1]
    got = networks.denoise(noisy, inputs.t, None, None, inputs.tokens)
    torch.testing.assert_close(got, model(noisy, inputs.t, context).sample, atol=1e-5, rtol=1e-5)
    # More frames tell the two normalisations apart. The stock class wants the tokens repeated for each frame.
    pooled = model(inputs.noisy, inputs.t, context.repeat_interleave(3, 0)).sample
    assert (networks.denoise(inputs.noisy, inputs.t, None, None, inputs.tokens) - pooled).abs().max() > 1e-3


@torch.no_grad()
def test_reference_features_are_what_the_stock_unet_feeds_its_self_attentions(
    make_networks: Make, inputs: SimpleNamespace
) -> None:
    networks = make_networks()
    model = stock(UNet2DConditionModel, networks.appearance_net.unet)
    seen: list[torch.Tensor] = []
    for name, module in model.named_modules():
        if name.endswith("transformer_blocks.0.norm1"):
            module.register_forward_hook(lambda module, arguments, output: seen.append(output))
    model(inputs.reference, 0, networks.image_prompt(inputs.tokens, "appearance"))
    features = networks.reference_features(inputs.reference, inputs.tokens)
    assert len(seen) == len(features) == 16
    for got, expected in zip(features, seen, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_frames_are_normalised_one_by_one() -> None:
    norm, x = FrameGroupNorm(2, 4), torch.randn(2, 4, 3, 5, 6) * torch.tensor([1.0, 5.0, 20.0]).view(1, 1, 3, 1, 1)
    norm.weight.uniform_(0.5, 2)
    norm.bias.uniform_(-1, 1)
    expected = torch.stack([nn.functional.group_norm(x[:, :, i], 2, norm.weight, norm.bias) for i in range(3)], 2)
    torch.testing.assert_close(norm(x), expected)
