"""Previews: what the networks make of held-out frames while they train, as a picture for the boards.

Side by side: the reference, the landmarks that drive it, the result, and the truth. Of single frames (stage 1) a few,
one below the other; of a clip (stage 2) a moving picture. Nothing here touches what training computes: the noise is the
held-out sample's own, no generator is drawn from, and a preview that fails is left out and said once.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from fye_model.diffusion import make_scheduler
from fye_model.networks import Networks
from fye_model.networks.autoencoder import decode, load_autoencoder
from fye_model.networks.weights import first_line
from fye_model.training.boards import Picture
from fye_model.training.data import TrainingSamples
from fye_model.training.job import TrainJob

STEPS = 10  # of sampling, without guidance
ITEMS = 4  # single frames that are shown; of a clip one is
MOST_SIDE_PX = 256  # of each picture
MOST_SHARE = 0.04  # of the run's time: a preview that would take it beyond is left out, save the first and the last


class Previews:
    """Makes the previews of one run, each at its own cost, and keeps count of it.

    The autoencoder is read at the first one, its decoder kept in the computer's memory between them.
    """

    def __init__(self, job: TrainJob, autoencoder: Path, samples: TrainingSamples, log: Callable[[str], None]) -> None:
        self.job, self.autoencoder, self.samples, self.log = job, autoencoder, samples, log
        self._decoder: Any = None
        self._begun, self._spent_s, self._last_s = time.monotonic(), 0.0, 0.0
        self._failed = False

    def make(self, networks: Networks, device: torch.device, last: bool = False) -> Picture | None:
        """The preview by these networks' weights on `device`; None where it costs too much now, or did not work.

        The run's `last` one may cost what it does.
        """
        begun = time.monotonic()
        dear = self._spent_s + self._last_s > MOST_SHARE * (begun - self._begun)
        if self._failed or (dear and not last):
            return None
        try:
            with _looking_at(networks):
                picture = self._make(networks, device)
        except Exception as error:  # no reason to lose a training run: memory, or whatever the folder holds
            self._failed, self._decoder = True, None
            self.log(f"previews are left out from here on ({first_line(error)})")
            return None
        self._last_s = time.monotonic() - begun
        self._spent_s += self._last_s
        return picture

    def _make(self, networks: Networks, device: torch.device) -> Picture:
        items = ITEMS if self.job.train.frames == 1 else 1
        batch = default_collate([self.samples[0, number] for number in range(items)])
        given = {name: value.to(device) for name, value in batch.items()}
        made = sample_latents(networks, self.job, given)
        shown = (given["reference_latent"], _frames(made), _frames(given["latents"]))
        reference, result, truth = self._decode(shown, device)
        landmarks = _frames(batch["landmarks"]).permute(0, 2, 3, 1).numpy()
        references = np.repeat(reference, len(result) // len(reference), axis=0)
        rows = np.concatenate([references, landmarks, result, truth], axis=2)
        if self.job.train.frames == 1:
            return as_png(np.concatenate(list(rows)), MOST_SIDE_PX / rows.shape[1])
        index, stride = self.samples.index, self.job.train.frame_stride
        return as_gif(rows, MOST_SIDE_PX / rows.shape[1], index.fps / stride)

    def _decode(self, parts: tuple[Tensor, ...], device: torch.device) -> list[np.ndarray]:
        """Pictures (n, H, W, 3) uint8 of latents (n, c, h, w), one at a time: what training leaves may be little."""
        if self._decoder is None:
            vae: Any = load_autoencoder(self.autoencoder)
            vae.encoder = vae.quant_conv = None
            self._decoder = vae.to(torch.bfloat16) if device.type == "cuda" else vae
        self._decoder.to(device)
        try:
            return [decode(self._decoder, part, 1).cpu().numpy() for part in parts]
        finally:
            self._decoder.to("cpu")


@torch.no_grad()
def sample_latents(networks: Networks, job: TrainJob, batch: dict[str, Tensor]) -> Tensor:
    """Denoise a batch's own noise, (b, c, f, h, w) float32, under its landmarks and references, nothing given."""
    dtype = next(networks.parameters()).dtype
    scheduler = make_scheduler(job.noise)
    scheduler.set_timesteps(STEPS)
    latents, tokens = batch["noise"], batch["image_tokens"].to(dtype)
    half = job.train.precision == "bf16" and dtype == torch.float32
    with torch.autocast(latents.device.type, torch.bfloat16) if half else nullcontext():
        landmarks = networks.landmark_features(batch["landmarks"].to(dtype) / 255)
        prepared = networks.prepare(networks.reference_features(batch["reference_latent"].to(dtype), tokens), tokens)
        for timestep in scheduler.timesteps.tolist():
            output = networks.denoise(
                latents.to(dtype), timestep, landmarks, temporal=job.stage == 2, prepared=prepared
            )
            assert isinstance(output, Tensor)
            latents = scheduler.step(output.float(), timestep, latents, return_dict=False)[0]
    return latents


def as_png(pixels: np.ndarray, scale: float) -> Picture:
    """A picture (h, w, 3) uint8, made smaller where `scale` is below 1."""
    picture, data = _scaled(pixels, scale), io.BytesIO()
    picture.save(data, "PNG")
    return Picture("preview", data.getvalue(), "png", picture.width, picture.height)


def as_gif(frames: np.ndarray, scale: float, fps: float) -> Picture:
    """Frames (f, h, w, 3) uint8 as a moving picture that begins anew at its end."""
    pictures, data = [_scaled(frame, scale) for frame in frames], io.BytesIO()
    pictures[0].save(
        data, "GIF", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, disposal=2
    )
    return Picture("preview", data.getvalue(), "gif", pictures[0].width, pictures[0].height)


def _scaled(pixels: np.ndarray, scale: float) -> Image.Image:
    picture = Image.fromarray(pixels)
    if scale >= 1:
        return picture
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BOX)


def _frames(video: Tensor) -> Tensor:
    """(b, c, f, h, w) to (b·f, c, h, w)."""
    return video.transpose(1, 2).flatten(0, 1)


@contextmanager
def _looking_at(networks: Networks) -> Iterator[None]:
    """The networks as they are looked at, not as they learn; and no search for the fastest convolution of few calls."""
    training, search = networks.training, torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    networks.eval()
    try:
        yield
    finally:
        networks.train(training)
        torch.backends.cudnn.benchmark = search
