"""The autoencoder helpers against diffusers' own calls."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from fye_model.networks.autoencoder import decode, encode, latent_factor, load_autoencoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        norm_num_groups=4,
        scaling_factor=0.7,
    )
    vae.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def test_latents_are_the_scaled_posterior_mean_whatever_the_batch(folder: Path) -> None:
    vae = load_autoencoder(folder)
    pixels = torch.randint(0, 256, (5, 16, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        posterior = vae.encode(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist
    got = encode(vae, pixels, batch=2)
    assert got.shape == (5, 4, 2, 3) and latent_factor(vae) == 8
    torch.testing.assert_close(got, posterior.mean * 0.7, atol=1e-6, rtol=1e-5)
    assert not any(p.requires_grad for p in vae.parameters())


def test_decoding_undoes_the_scaling_and_covers_all_levels(folder: Path) -> None:
    vae = load_autoencoder(folder)
    latents = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0)) * 20
    with torch.no_grad():
        expected = (vae.decode(latents / 0.7).sample + 1) * 127.5
    got = decode(vae, latents, batch=2)
    assert got.shape == (3, 16, 16, 3) and got.dtype == torch.uint8
    assert (got.permute(0, 3, 1, 2) - expected.clamp(0, 255)).abs().max() <= 0.51


def test_sizes_off_the_latent_grid_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"20x16 pixels.*multiples of 8"):
        encode(load_autoencoder(folder), torch.zeros(1, 16, 20, 3, dtype=torch.uint8))


def test_bad_folders_are_named(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json"):
        load_autoencoder(folder / "nowhere")
    weights = folder / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a readable AutoencoderKL"):
        load_autoencoder(folder)
    (folder / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    with pytest.raises(ValueError, match="expected a AutoencoderKL"):
        load_autoencoder(folder)
