"""Initial weights from published checkpoints: a Stable Diffusion UNet folder and AnimateDiff motion modules."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from fye_model.networks import motion
from fye_model.networks.bundle import Networks
from fye_model.networks.weights import LoadReport, assign, check_names, read_config, read_weights

UNET_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
FIXED = {  # settings of the UNet that the networks do not vary
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "act_fn": "silu",
    "norm_eps": 1e-5,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "use_linear_projection": False,
}


def load_unet(networks: Networks, folder: Path) -> list[LoadReport]:
    """Copy a `UNet2DConditionModel` folder (SD image variations) into the appearance net and the denoiser. [paper]

    The denoiser's motion modules and covered-latent channels keep their own start. ValueError when the folder is not
    one, is of another size, or its weights do not fit.
    """
    config = read_config(folder, "UNet2DConditionModel")
    ours = networks.appearance_net.config
    expected = {
        **FIXED,
        "in_channels": ours["in_channels"],
        "block_out_channels": list(ours["block_out_channels"]),
        "layers_per_block": ours["layers_per_block"],
        "attention_head_dim": ours["attention_heads"],
        "cross_attention_dim": ours["cross_attention_dim"],
        "norm_num_groups": ours["norm_num_groups"],
    }
    wrong = [f"{k} is {config[k]}, expected {v}" for k, v in expected.items() if k in config and config[k] != v]
    if wrong:
        raise ValueError(f"networks.unet: {folder / 'config.json'} does not fit the recipe: {', '.join(wrong)}")
    path = next((folder / name for name in UNET_FILES if (folder / name).is_file()), folder / UNET_FILES[0])
    state = read_weights(path)

    spatial = {k: v for k, v in networks.denoiser.unet.state_dict().items() if ".motion_modules." not in k}
    check_names(state, spatial, f"networks.unet: {path}")
    networks.denoiser.unet.load_state_dict(state, strict=False)
    wanted = networks.appearance_net.unet.state_dict()
    assign(networks.appearance_net.unet, {k: state[k] for k in wanted}, f"networks.unet: {path}")
    unused = {key: "behind the last reference feature" for key in state if key not in wanted}
    return [
        _report(path, "denoiser", state, {}),
        _report(path, "appearance_net", {k: state[k] for k in wanted}, unused),
    ]


def load_motion_modules(networks: Networks, path: Path) -> LoadReport:
    """Copy AnimateDiff motion modules (`mm_sd_v15_v2`, .ckpt or .safetensors) into the denoiser. [paper]

    ValueError when the file is not of motion modules, lacks some (version 1 has none in the middle block), or has
    positions for another number of frames.
    """
    state, dropped = convert_motion(read_weights(path))
    expected = {k: v for k, v in networks.denoiser.unet.state_dict().items() if ".motion_modules." in k}
    check_names(state, expected, f"networks.motion_modules: {path}")
    networks.denoiser.unet.load_state_dict(state, strict=False)
    return _report(path, "denoiser motion modules", state, dropped)


def convert_motion(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Rename motion-module keys to diffusers' names; also return the keys left out, with the reason.

    ValueError when a block's two positional tables differ, since one is all that is kept.
    """
    renamed, dropped = {}, {}
    for key, value in state.items():
        name = motion.diffusers_name(key)
        if name is not None:
            renamed[name] = value
            continue
        first = state.get(key.replace("attention_blocks.1.", "attention_blocks.0."))
        if first is None or not (value.is_meta or torch.equal(first, value)):
            raise ValueError(f"{key} differs from the first attention's table; only files with equal ones can be used")
        dropped[key] = "equal to the first attention's positional table"
    return renamed, dropped


def _report(path: Path, target: str, state: dict[str, Tensor], dropped: dict[str, str]) -> LoadReport:
    return LoadReport(path.name, target, len(state), sum(v.numel() for v in state.values()), dropped)
