"""Drawn mouths that open with a sound's loudness, and SyncNet's own layers, narrow, whose last ones learned it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from fye_model.lip_sync.crop import cut_faces
from fye_model.lip_sync.network import FRAMES, STEPS, SyncNet
from fye_model.lip_sync.sound import RATE_HZ, mfcc

FPS, SIDE = 25, 128
FACE = (20.0, 24.0, 88.0, 96.0)  # left, top, right, bottom in a drawn picture
WINDOW = ((FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2, (FACE[3] - FACE[1]) / 2)
_WIDTH = 1 / 8
_TALKS, _FRAMES, _STEPS = 8, 80, 40


def talk(seed: int, frames: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures (SIDE, SIDE, 3) uint8 at 25 a second, and the samples (n,) int16 at 16 kHz that belong to them."""
    random = np.random.default_rng(seed)
    waves = [(random.uniform(1, 5), random.uniform(0, 2 * np.pi)) for _ in range(6)]

    def opening(times: np.ndarray) -> np.ndarray:
        total = sum(np.sin(2 * np.pi * hertz * times + phase) for hertz, phase in waves)
        return np.asarray(1 / (1 + np.exp(-1.5 * total)))

    rows, columns = np.mgrid[:SIDE, :SIDE]
    pictures = []
    for height in opening((np.arange(frames) + 0.5) / FPS):
        picture = np.full((SIDE, SIDE, 3), (150, 120, 100), np.uint8)
        picture[((columns - 54) / 16) ** 2 + ((rows - 80) / (1 + 13 * height)) ** 2 < 1] = (40, 10, 20)
        pictures.append(picture)
    times = np.arange(frames * RATE_HZ // FPS) / RATE_HZ
    voice = (180 * times) % 1 - 0.5  # a buzz: as even as a voice, with all its overtones
    return pictures, (12_000 * voice * opening(times)).astype(np.int16)


def late(samples: np.ndarray, frames: int) -> np.ndarray:
    """The sound some frames later (below 0: earlier); what comes in at the end went out at the other."""
    return np.roll(samples, frames * RATE_HZ // FPS)


def faces_of(pictures: list[np.ndarray]) -> Tensor:
    return cut_faces(pictures, np.tile(WINDOW, (len(pictures), 1)))


@cache
def taught() -> SyncNet:
    """A narrow SyncNet with drawn convolutions, whose heads learned in a second which sound is of which mouth."""
    torch.manual_seed(0)
    network = SyncNet(_WIDTH)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = 1.0  # of the convolutions, which see everything at once
    talks = [talk(seed, _FRAMES) for seed in range(100, 100 + _TALKS)]
    windows = [
        torch.from_numpy(mfcc(samples)).float().T[None, :, 4 * at : 4 * at + STEPS]
        for _, samples in talks
        for at in range(_FRAMES - FRAMES)
    ]
    with torch.no_grad():
        clips = torch.stack([faces_of(pictures) for pictures, _ in talks]).float()
        seen = network.netcnnlip(clips)[:, :, :-1, 0, 0].transpose(1, 2).flatten(0, 1)
        heard = network.netcnnaud(torch.stack(windows)).flatten(1)
    heads = [network.netfclip, network.netfcaud]
    steps = torch.optim.AdamW([weight for head in heads for weight in head.parameters()], lr=3e-3, weight_decay=0.1)
    for _ in range(_STEPS):
        lips, sound = (
            head(values).unflatten(0, (_TALKS, -1)) for head, values in zip(heads, (seen, heard), strict=True)
        )
        near = -torch.cdist(lips, sound).flatten(0, 1)
        loss = nn.functional.cross_entropy(near, torch.arange(_FRAMES - FRAMES).repeat(_TALKS))
        steps.zero_grad()
        loss.backward()
        steps.step()
    return network.eval().requires_grad_(False)


def widened(network: SyncNet) -> dict[str, Tensor]:
    """The weights of a narrow network as those of a published one that computes the same: what is new is zero."""
    full: Mapping[str, Tensor] = SyncNet().state_dict()
    state = {}
    for name, values in network.state_dict().items():
        larger = torch.zeros_like(full[name])
        larger[tuple(slice(0, size) for size in values.shape)] = values
        if name.endswith("running_var"):
            larger[values.shape[0] :] = 1
        state[name] = larger
    return state
