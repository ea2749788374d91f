"""The fitted autoencoder: it learns, it is the same every time, and a half-written one is never left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from fye_model.config import AutoencoderConfig
from fye_model.training.autoencoder import fit_autoencoder, reconstruction_loss

CONFIG = AutoencoderConfig(
    block_out_channels=(8, 16, 16),
    layers_per_block=1,
    norm_num_groups=4,
    fit_steps=150,
    fit_batch_size=4,
    fit_learning_rate=5e-3,
)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """24 frames of 32 x 32: a bright square that moves over a gradient."""
    frames = np.tile(np.linspace(0, 200, 32, dtype=np.uint8)[None, None, :, None], (24, 32, 1, 3)).copy()
    for number, frame in enumerate(frames):
        frame[4:28, number % 20 : number % 20 + 12] = (250, 60, 60)
    return frames


def quiet(message: str) -> None:
    pass


def test_fitting_beats_the_mean_picture_and_stores_the_scaling_factor(frames: np.ndarray, tmp_path: Path) -> None:
    lines: list[str] = []
    row = fit_autoencoder(frames, CONFIG, tmp_path / "vae", lines.append)
    mean_picture = np.abs(frames / 255 - frames.mean(axis=0) / 255).mean()
    vae = AutoencoderKL.from_pretrained(tmp_path / "vae")
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(images).latent_dist.mean
        error = (vae.decode(latents).sample.clamp(-1, 1) - images).abs().mean().item() / 2
    assert row.l1 == pytest.approx(error, rel=1e-3)
    assert error < 0.6 * mean_picture, f"{error} against {mean_picture}"
    assert (latents * vae.config.scaling_factor).std().item() == pytest.approx(1, rel=1e-2)
    assert any("steps/s" in line for line in lines)


def test_the_same_frames_give_the_same_file(frames: np.ndarray, tmp_path: Path) -> None:
    short = CONFIG.model_copy(update={"fit_steps": 4})
    for name in ("a", "b"):
        fit_autoencoder(frames, short, tmp_path / name, quiet)
    for file in ("config.json", "diffusion_pytorch_model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    fit_autoencoder(frames, short.model_copy(update={"fit_seed": 1}), tmp_path / "c", quiet)
    weights = "diffusion_pytorch_model.safetensors"
    assert (tmp_path / "a" / weights).read_bytes() != (tmp_path / "c" / weights).read_bytes()


def test_frames_without_weight_are_never_looked_at(frames: np.ndarray, tmp_path: Path) -> None:
    short = CONFIG.model_copy(update={"fit_steps": 4})
    weights = np.array([1.0] * 12 + [0.0] * 12)
    changed = frames.copy()
    changed[12:-1] = 255 - changed[12:-1]  # not the last: the statistics look at some of all frames
    rows = [fit_autoencoder(f, short, tmp_path / n, quiet, weights) for n, f in (("a", frames), ("b", changed))]
    state = [AutoencoderKL.from_pretrained(tmp_path / name).state_dict() for name in "ab"]
    assert all(torch.equal(value, state[1][name]) for name, value in state[0].items())
    assert rows[0].l1 != rows[1].l1


def test_a_failure_while_saving_leaves_the_old_folder_and_no_rubbish(frames: np.ndarray, tmp_path: Path) -> None:
    short = CONFIG.model_copy(update={"fit_steps": 1})
    fit_autoencoder(frames, short, tmp_path / "vae", quiet)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "vae").iterdir())
    blocked = tmp_path / "file" / "vae"
    blocked.parent.write_text("not a folder")
    with pytest.raises(OSError):
        fit_autoencoder(frames, short, blocked, quiet)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "vae").iterdir()) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "vae"]


@pytest.mark.parametrize(
    ("change", "size", "message"),
    [
        ({"fit_steps": 0}, 32, r"no autoencoder: give autoencoder\.path"),
        ({}, 30, r"do not divide into latent cells of 4"),
        ({"norm_num_groups": 3}, 32, r"norm_num_groups is 3, which does not divide 8"),
    ],
)
def test_what_cannot_be_fitted_says_why(tmp_path: Path, change: dict, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_autoencoder(
            np.zeros((2, size, size, 3), np.uint8), CONFIG.model_copy(update=change), tmp_path / "vae", quiet
        )


def test_the_loss_sees_edges_that_the_mean_error_does_not() -> None:
    images = torch.zeros(1, 3, 8, 8)
    flat, striped = torch.full_like(images, 0.5), torch.full_like(images, 0.5)
    striped[..., ::2] *= -1
    assert reconstruction_loss(flat, images).item() == pytest.approx(0.5)
    assert reconstruction_loss(striped, images).item() == pytest.approx(0.5 + 0.5 * 1.0)
