"""A small autoencoder fitted on the clips at hand, for recipes that have no published one.

Fully convolutional, so the first steps look at crops, which are varied; the rest look at whole frames, whose statistics
the group norms will meet in use. The loss is the pixels' L1, the L1 of their differences (edges would
blur without it), and a slight pull of the latents towards a unit Gaussian.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from fye_model.config import AutoencoderConfig
from fye_model.files import whole_folder
from fye_model.landmarks.masks import expression_mask
from fye_model.training.records import AutoencoderFit

EDGE_WEIGHT = 0.5  # of the differences' L1 beside the pixels'
WHOLE_SHARE = 0.6  # of the steps, at the end, look at whole frames: 0.3 left a fifth more error, 1.0 overfits
WARMUP_SHARE = 0.05
GRAD_CLIP = 1.0
START_LOG_VARIANCE = -4.0  # of the latents' noise: at 0 it drowns what an untrained encoder has to say
EXPRESSION_RADIUS = 0.04  # of the face box's longer side: an eye with its lids, not only their line
STATISTICS_FRAMES = 64  # over which the latents' spread and the final error are measured


def build_autoencoder(config: AutoencoderConfig, size: int) -> AutoencoderKL:
    """An untrained `AutoencoderKL` of the configured size, for frames of size x size pixels.

    Without attention in the middle: its cost at small sizes buys nothing, and crops would train it on another number
    of tokens. Initialisation takes torch's global generator.
    """
    levels = len(config.block_out_channels)
    if size % config.factor:
        raise ValueError(
            f"frames of {size} pixels do not divide into latent cells of {config.factor}: change clips.size"
        )
    if odd := [c for c in config.block_out_channels if c % config.norm_num_groups]:
        raise ValueError(
            f"autoencoder.norm_num_groups is {config.norm_num_groups}, which does not divide {odd[0]} of "
            "autoencoder.block_out_channels"
        )
    model: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_num_groups,
        latent_channels=config.latent_channels,
        sample_size=size,
        mid_block_add_attention=False,
    )
    with torch.no_grad():
        model.quant_conv.bias[config.latent_channels :] = START_LOG_VARIANCE
    built: AutoencoderKL = model
    return built


def fit_autoencoder(
    frames: np.ndarray,
    config: AutoencoderConfig,
    out_dir: Path,
    log: Callable[[str], None] = print,
    weights: np.ndarray | None = None,
    device: str = "cpu",
    expression: np.ndarray | None = None,
) -> AutoencoderFit:
    """Fit an autoencoder on frames and save it as a diffusers folder, complete or not at all.

    frames: (n, s, s, 3) uint8 RGB, s a multiple of the latent factor; weights: (n,) how often each is drawn, equal
    when None (give subjects equal shares); expression: (n, s, s) bool, the pixels that `fit_expression_weight` is for
    (`expression_pixels`), none when None. The same frames and configuration give the same weights on one machine.
    The scaling factor is stored in the config as Stable Diffusion does. ValueError when there is nothing to fit.
    """
    if config.fit_steps == 0 or len(frames) == 0:
        raise ValueError(
            "no autoencoder: give autoencoder.path (a folder of an AutoencoderKL such as sd-vae-ft-mse), or set "
            f"autoencoder.fit_steps above 0 to fit a small one on the clips; there are {len(frames)} frames to fit on"
        )
    torch.manual_seed(config.fit_seed)
    size, place = frames.shape[1], torch.device(device)
    model: Any = build_autoencoder(config, size)
    model.to(place, memory_format=torch.channels_last)  # a sixth faster on a CPU
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.fit_learning_rate, weight_decay=0.0, fused=True)
    random = np.random.default_rng(config.fit_seed)
    share = None if weights is None else np.asarray(weights, np.float64) / np.sum(weights)
    crop = _crop_size(size, config.factor)
    first_whole = round(config.fit_steps * (1 - WHOLE_SHARE))
    begun = time.monotonic()
    for step in range(config.fit_steps):
        for group in optimizer.param_groups:
            group["lr"] = config.fit_learning_rate * _schedule(step, config.fit_steps)
        # whole frames cost what several crops cost: fewer of them keep a step's time the same
        side = crop if step < first_whole else size
        count = max(1, config.fit_batch_size * crop * crop // (side * side))
        chosen = random.choice(len(frames), size=count, p=share)
        places = _places(frames.shape[1], count, side, config.factor, random)
        images = _to_images(_crops(frames, chosen, places, side)).to(place)
        weight = _weight(expression, chosen, places, side, config.fit_expression_weight)
        with torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda"):
            posterior = model.encode(images).latent_dist
            decoded = model.decode(posterior.sample()).sample
        loss = reconstruction_loss(decoded.float(), images, None if weight is None else weight.to(place))
        loss = loss + config.fit_kl_weight * posterior.kl().mean()
        value = _finite(loss, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)
        optimizer.step()
        if (step + 1) % max(1, config.fit_steps // 10) == 0:
            rate = f"{(step + 1) / (time.monotonic() - begun):.1f} steps/s"
            log(f"autoencoder step {step + 1}/{config.fit_steps} loss {value:.4f} {rate}")
    model.eval()
    fit = _measure(model, frames, config)
    model.register_to_config(scaling_factor=fit.scaling_factor)
    save_folder(model.cpu(), out_dir)
    log(f"autoencoder: L1 {fit.l1:.4f}, scaling factor {fit.scaling_factor:.4f}, saved in {out_dir}")
    return fit


def reconstruction_loss(decoded: Tensor, images: Tensor, weight: Tensor | None = None) -> Tensor:
    """L1 of pixels plus weighted L1 of their horizontal and vertical differences; (b, 3, h, w) in [-1, 1].

    weight: (b, 1, h, w), how much a pixel counts; the mean is taken over weights, so that the loss keeps its scale.
    """
    error = decoded - images
    if weight is None:
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return F.l1_loss(decoded, images) + EDGE_WEIGHT * edges
    weight = weight / weight.mean()
    across = (error.diff(dim=-1).abs() * weight[..., 1:]).mean()
    down = (error.diff(dim=-2).abs() * weight[..., 1:, :]).mean()
    return (error.abs() * weight).mean() + EDGE_WEIGHT * (across + down)


def expression_pixels(points_px: np.ndarray, size: int) -> np.ndarray:
    """(n, size, size) bool: what lies around eyes, brows, lips and pupils of frames with landmarks (n, 478, 2)."""
    return expression_mask(points_px, size, size, EXPRESSION_RADIUS)


def save_folder(model: Any, folder: Path) -> None:
    """`save_pretrained`, whole or not at all; an older folder is replaced."""
    with whole_folder(folder) as temporary:
        model.save_pretrained(temporary)
        _drop_versions(temporary / "config.json")


def _drop_versions(config: Path) -> None:
    """Take out the path that diffusers notes for models it was loaded from: equal models give equal files."""
    values = json.loads(config.read_text())
    values.pop("_name_or_path", None)
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def _crop_size(size: int, factor: int) -> int:
    """Half a frame's side, in whole latent cells, and never fewer than four of them."""
    return min(size, max(4 * factor, size // 2 // factor * factor))


def _finite(loss: Tensor, step: int) -> float:
    value: float = loss.item()
    if not math.isfinite(value):
        raise ValueError(f"autoencoder: the loss is {value} at step {step}; lower autoencoder.fit_learning_rate")
    return value


def _weight(
    expression: np.ndarray | None, chosen: np.ndarray, places: np.ndarray, side: int, added: float
) -> Tensor | None:
    """How much each pixel of the squares counts, (k, 1, side, side): `added` more around eyes and lips; None: alike."""
    if expression is None or not added:
        return None
    return 1 + added * torch.from_numpy(_crops(expression, chosen, places, side))[:, None].float()


def _places(size: int, count: int, side: int, factor: int, random: np.random.Generator) -> np.ndarray:
    """(count, 2) upper left corners of squares, each somewhere else, on whole latent cells."""
    corners: np.ndarray = random.integers((size - side) // factor + 1, size=(count, 2)) * factor
    return corners


def _crops(frames: np.ndarray, chosen: np.ndarray, places: np.ndarray, side: int) -> np.ndarray:
    """(k, side, side, ...) squares of the chosen frames."""
    return np.stack([frames[n, y : y + side, x : x + side] for n, (y, x) in zip(chosen, places, strict=True)])


def _to_images(frames: np.ndarray) -> Tensor:
    """(n, h, w, 3) uint8 to (n, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def _schedule(step: int, steps: int) -> float:
    warmup = max(1, round(steps * WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.no_grad()
def _measure(model: Any, frames: np.ndarray, config: AutoencoderConfig) -> AutoencoderFit:
    """The latents' spread and the reconstruction error, over frames spread evenly over all."""
    picks = np.unique(np.linspace(0, len(frames) - 1, STATISTICS_FRAMES).round().astype(int))
    means, errors = [], []
    for first in range(0, len(picks), 8):
        images = _to_images(frames[picks[first : first + 8]]).to(model.device)
        mean = model.encode(images).latent_dist.mode()
        decoded = model.decode(mean).sample.clamp(-1, 1)
        means.append(mean)
        errors.append((decoded - images).abs().mean(dim=(1, 2, 3)) / 2)
    spread = float(torch.cat(means).std())
    return AutoencoderFit(
        steps=config.fit_steps,
        l1=round(float(torch.cat(errors).mean()), 6),
        scaling_factor=round(1 / max(spread, 1e-6), 6),
    )
