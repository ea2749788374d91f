"""Frames a second that a card encodes: `python tests/benchmarks/encode.py` on NVIDIA GPUs.

Stable Diffusion's autoencoder, random weights, 512x512, pictures in memory to latents in memory. One NVIDIA H100 with
torch 2.11, other work on the machine's other cards: 87 frames/s in single precision, 298 in half; one NVIDIA H200:
324 in half.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
from diffusers import AutoencoderKL

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fye_model.config import ImageEncoderConfig
from fye_model.networks.image_encoder import load_image_encoder
from fye_model.training.encoders import IMAGE_ENCODER, VAE
from fye_model.training.latents import LatentEncoder

SIZE = 512


def make_encoders(folder: Path, tiny: bool) -> None:
    """Stable Diffusion's autoencoder and CLIP ViT-L/14, by size, with random weights."""
    torch.manual_seed(0)
    channels = (16, 16, 32, 32) if tiny else (128, 256, 512, 512)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=channels,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=8 if tiny else 32,
        sample_size=SIZE,
    )
    vae.save_pretrained(folder / VAE)
    size = {"hidden_size": 64, "intermediate_size": 128, "layers": 2, "heads": 4} if tiny else {}
    load_image_encoder(ImageEncoderConfig(**size)).save(folder / IMAGE_ENCODER)


def encode_share(card: int, folder: Path, frames: int, precision: str, begin: Barrier, seconds: Queue[float]) -> None:
    """One process's part: latents of so many frames, timed after a warm-up, when all are ready."""
    device = f"cuda:{card}" if torch.cuda.is_available() else "cpu"
    encoder = LatentEncoder(folder / VAE, folder / IMAGE_ENCODER, device=device, half=precision == "fp16")
    pictures = np.random.default_rng(card).integers(0, 256, (frames, SIZE, SIZE, 3), dtype=np.uint8)
    encoder.latents(pictures[:32])
    begin.wait()
    begun = time.perf_counter()
    encoder.latents(pictures)
    seconds.put(time.perf_counter() - begun)


def main() -> None:
    """Print a line for each number of cards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cards", nargs="*", type=int, default=[1])
    parser.add_argument("--frames", type=int, default=512, help="of each card")
    parser.add_argument("--precision", nargs="*", default=["fp32", "fp16"])
    parser.add_argument("--tiny", action="store_true", help="small encoders, to try the benchmark itself")
    options = parser.parse_args()
    spawned = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_encoders(folder, options.tiny)
        for cards in options.cards:
            for precision in options.precision:
                begin, seconds = spawned.Barrier(cards), spawned.Queue()
                shares = [
                    spawned.Process(target=encode_share, args=(card, folder, options.frames, precision, begin, seconds))
                    for card in range(cards)
                ]
                for share in shares:
                    share.start()
                slowest = max(seconds.get() for _ in shares)
                for share in shares:
                    share.join()
                rate = cards * options.frames / slowest
                print(f"{cards} cards, {precision}: {rate:.0f} frames/s, {rate / cards:.0f} a card", flush=True)


if __name__ == "__main__":  # processes import this file again
    main()
