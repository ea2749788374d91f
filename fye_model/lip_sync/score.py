"""How far the sound is from the lips, and how sure that is: the measure that the field reports of talking videos.

The distance between the vectors of lips and sound is averaged over a clip for every shift of up to 15 frames. The
shift with the least is the offset; by how much it lies below the median of all shifts is the confidence. Windows that
a shift pushes beyond the end are left out, where the published code compares with zeros instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fye_model.lip_sync.network import FRAMES, STEPS, SyncNet
from fye_model.lip_sync.sound import HOP, RATE_HZ, mfcc

FPS = 25
SHIFTS = 15  # frames, to either side
LEAST_FRAMES = FRAMES + 2 * SHIFTS + 1  # so that more than half of the windows have a partner at every shift
_AT_ONCE = 16  # windows: what is held of the first layer of each is 5 MB
_STEPS_A_FRAME = RATE_HZ // HOP // FPS


@dataclass(frozen=True)
class SyncScore:
    """offset_frames: of 25 a second; above 0 the sound comes before the lips. confidence: 0 where nothing fits best."""

    offset_frames: int
    confidence: float


def shared_frames(frames: int, samples: int) -> int:
    """Of pictures at 25 a second and samples at 16 kHz, for how many frames there are both."""
    return min(frames, samples * FPS // RATE_HZ)


@torch.inference_mode()
def sync_score(network: SyncNet, faces: Tensor, samples: np.ndarray) -> SyncScore:
    """Faces (3, f, 224, 224) uint8 of `cut_faces` at 25 a second, samples (n,) int16 at 16 kHz from the first frame on.

    Raises ValueError where both last for less than `LEAST_FRAMES`.
    """
    frames = shared_frames(faces.shape[1], len(samples))
    if frames < LEAST_FRAMES:
        raise ValueError(f"{frames} frames with sound are too few; {LEAST_FRAMES} are needed to shift them by {SHIFTS}")
    device = next(network.parameters()).device
    coefficients = torch.from_numpy(mfcc(samples)).float().T[None, None]  # (1, 1, 13, steps)
    lips, sound = [], []
    count = frames - FRAMES  # the last window would lack the last of its steps of sound
    for start in range(0, count, _AT_ONCE):
        stop = min(start + _AT_ONCE, count)
        lips.append(network.lips(faces[:, start : stop + FRAMES - 1].to(device).float()).cpu())
        windows = [coefficients[..., _STEPS_A_FRAME * at :][..., :STEPS] for at in range(start, stop)]
        sound.append(network.sound(torch.cat(windows).to(device)).cpu())
    return measure(torch.cat(lips), torch.cat(sound))


def measure(lips: Tensor, sound: Tensor) -> SyncScore:
    """Vectors of the windows that begin with each frame, (n, d) of both -> the score."""
    mean = torch.stack([_distance(lips, sound, shift) for shift in range(-SHIFTS, SHIFTS + 1)])
    least = int(mean.argmin())
    return SyncScore(SHIFTS - least, float(mean.median() - mean[least]))


def _distance(lips: Tensor, sound: Tensor, shift: int) -> Tensor:
    """Mean distance of the lips at each frame from the sound `shift` frames later."""
    start, stop = max(0, -shift), min(len(lips), len(sound) - shift)
    return (lips[start:stop] - sound[start + shift : stop + shift]).norm(dim=1).mean()
