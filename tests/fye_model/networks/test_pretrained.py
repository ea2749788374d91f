"""Start from published checkpoints: small files in the published layouts, written here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from fye_model.config import NetworkConfig
from fye_model.networks import Networks, build_networks

Write = Callable[..., Path]


@pytest.fixture
def write_unet(tmp_path: Path, tiny_config: NetworkConfig) -> Write:
    """Writes a UNet folder as Stable Diffusion 1.x has it."""

    def write(safe: bool = True, **changes: Any) -> Path:
        torch.manual_seed(7)
        arguments = {
            "block_out_channels": tiny_config.block_out_channels,
            "attention_head_dim": tiny_config.attention_heads,
            "cross_attention_dim": tiny_config.cross_attention_dim,
            "norm_num_groups": tiny_config.norm_num_groups,
        }
        UNet2DConditionModel(**(arguments | changes)).save_pretrained(tmp_path / "unet", safe_serialization=safe)
        return tmp_path / "unet"

    return write


def animatediff(config: NetworkConfig, frames: int = 32, middle: bool = True) -> dict[str, Tensor]:
    """Motion modules under AnimateDiff's names."""
    torch.manual_seed(8)
    adapter = MotionAdapter(
        block_out_channels=config.block_out_channels,
        motion_num_attention_heads=config.motion_heads,
        motion_norm_num_groups=config.norm_num_groups,
        motion_max_seq_length=frames,
        use_motion_mid_block=middle,
    )
    state = {}
    for key, value in adapter.state_dict().items():
        head, _, tail = key.partition(".motion_modules.")
        number, _, tail = tail.partition(".")
        tail = tail.replace("norm3.", "ff_norm.").replace("pos_embed.pe", "attention_blocks.0.pos_encoder.pe")
        for i in (1, 2):
            tail = tail.replace(f".attn{i}.", f".attention_blocks.{i - 1}.").replace(f".norm{i}.", f".norms.{i - 1}.")
        name = f"{head}.motion_modules.{number}.temporal_transformer.{tail}"
        state[name] = value
        if tail.endswith("pe"):
            state[name.replace("attention_blocks.0", "attention_blocks.1")] = value.clone()
    return state


def build(config: NetworkConfig, **changes: Any) -> Networks:
    torch.manual_seed(0)
    return build_networks(config.model_copy(update=changes), 24)


@pytest.mark.parametrize("safe", [True, False])
def test_a_unet_folder_starts_both_networks(tiny_config: NetworkConfig, write_unet: Write, safe: bool) -> None:
    folder = write_unet(safe)
    networks, new = build(tiny_config, unet=folder), build(tiny_config)
    unet = UNet2DConditionModel.from_pretrained(folder).state_dict()
    denoising, temporal = networks.denoiser.unet.state_dict(), networks.temporal_parameters()
    for key, value in unet.items():
        assert torch.equal(denoising[key], value), key
    for key, value in networks.appearance_net.unet.state_dict().items():
        assert torch.equal(value, unet[key]), key
    for key, value in new.temporal_parameters().items():
        assert torch.equal(temporal[key], value), key
    denoiser, appearance_net = networks.reports
    assert denoiser.target == "denoiser" and not denoiser.dropped
    assert len(appearance_net.dropped) == 24
    assert denoiser.tensors == len(unet) == appearance_net.tensors + 24


@torch.no_grad()
def test_the_networks_then_compute_what_the_unet_computes(tiny_config: NetworkConfig, write_unet: Write) -> None:
    folder = write_unet()
    networks = build(tiny_config, unet=folder, image_prompt="linear").eval()
    unet = UNet2DConditionModel.from_pretrained(folder).eval()
    noisy, tokens = torch.randn(1, 4, 16, 16), torch.randn(1, 5, 24)
    expected = unet(noisy, 500, networks.image_prompt(tokens, "denoiser")).sample
    got = networks.denoise(noisy[:, :, None], 500, None, None, tokens)
    torch.testing.assert_close(got[:, :, 0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", ["ckpt", "nested ckpt", "safetensors"])
def test_motion_modules_of_animatediff_load(tiny_config: NetworkConfig, tmp_path: Path, layout: str) -> None:
    state = animatediff(tiny_config)
    path = tmp_path / ("mm.safetensors" if layout == "safetensors" else "mm.ckpt")
    if layout == "safetensors":
        save_file(state, path)
    elif layout == "ckpt":
        torch.save(state, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    networks = build(tiny_config, motion_modules=path)
    (report,) = networks.reports
    loaded = networks.denoiser.unet.state_dict()
    first = "down_blocks.0.motion_modules.0."
    block = f"{first}temporal_transformer.transformer_blocks.0."
    assert torch.equal(
        loaded[f"{first}transformer_blocks.0.attn2.to_q.weight"], state[f"{block}attention_blocks.1.to_q.weight"]
    )
    assert torch.equal(loaded[f"{first}transformer_blocks.0.norm3.bias"], state[f"{block}ff_norm.bias"])
    assert torch.equal(loaded[f"{first}proj_out.weight"], state[f"{first}temporal_transformer.proj_out.weight"])
    assert report.tensors + len(report.dropped) == len(state)
    assert len(report.dropped) == 21 and "left out" in str(report)


def test_unet_folders_that_do_not_fit_are_named(tiny_config: NetworkConfig, write_unet: Write, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cross_attention_dim is 20, expected 12"):
        build(tiny_config, unet=write_unet(cross_attention_dim=20))
    folder = write_unet()
    weights = folder / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        build(tiny_config, unet=folder)
    weights.unlink()
    with pytest.raises(ValueError, match="does not exist"):
        build(tiny_config, unet=folder)
    settings = json.loads((folder / "config.json").read_text()) | {"_class_name": "UNet2DModel"}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="expected a UNet2DConditionModel"):
        build(tiny_config, unet=folder)
    with pytest.raises(ValueError, match=r"has no config\.json"):
        build(tiny_config, unet=tmp_path / "nowhere")


def test_motion_files_that_do_not_fit_are_named(tiny_config: NetworkConfig, write_unet: Write, tmp_path: Path) -> None:
    path = tmp_path / "mm.ckpt"
    torch.save(animatediff(tiny_config, middle=False), path)
    with pytest.raises(ValueError, match=r"missing: mid_block\.motion_modules\.0"):
        build(tiny_config, motion_modules=path)
    torch.save(animatediff(tiny_config, frames=24), path)
    with pytest.raises(ValueError, match=r"pe is \(1, 24, 8\), expected \(1, 32, 8\)"):
        build(tiny_config, motion_modules=path)
    with pytest.raises(ValueError, match="unexpected"):
        build(tiny_config, motion_modules=write_unet() / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ValueError, match="does not exist"):
        build(tiny_config, motion_modules=tmp_path / "nothing.ckpt")
