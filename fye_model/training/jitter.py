"""Other crops of a training clip: nearer, off-centre, mirrored, with landmarks and masks that go along.

A clip's face always sits in the same place of its square, and a model that has seen nothing else draws it there,
wherever a portrait's face is. Each jittered crop is one square of the clip for all of its frames, enlarged to the
clip's size, so that a window of it is as steady as the clip is.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image

from fye_model.config import JitterConfig
from fye_model.landmarks import topology
from fye_model.landmarks.mirroring import mirrored
from fye_model.landmarks.table import LandmarkSequence
from fye_model.processes import usable_cpus

_TRIES = 50  # crops drawn before the one that cuts least is taken
_CUT = 0.02  # of the drawn points that a crop may leave outside


@dataclass(frozen=True)
class CropDraw:
    """A square of a clip as fractions of its side, [left, left + side) x [top, top + side), and whether mirrored."""

    left: float
    top: float
    side: float
    mirrored: bool


def draw_crops(sequence: LandmarkSequence, config: JitterConfig) -> list[CropDraw]:
    """`config.crops` squares of a clip, the same for the same landmarks and seed, that keep the drawn points inside."""
    points = sequence.points[sequence.valid][:, list(topology.EXPRESSION_POINTS), :2].reshape(-1, 2)
    digest = hashlib.sha256(np.ascontiguousarray(points).tobytes()).digest()
    random = np.random.default_rng([config.seed, int.from_bytes(digest[:8], "little")])
    return [_draw(points, config, mirrored=config.mirror and n % 2 == 0, random=random) for n in range(config.crops)]


def _draw(points: np.ndarray, config: JitterConfig, mirrored: bool, random: np.random.Generator) -> CropDraw:
    best, least = CropDraw(0.0, 0.0, 1.0, mirrored), np.inf
    for _ in range(_TRIES):
        side = 1 - config.zoom * random.random()
        left, top = (1 - side) * random.random(2)
        outside = ((points < (left, top)) | (points > (left + side, top + side))).any(axis=1).mean()
        if outside < least:
            best, least = CropDraw(float(left), float(top), float(side), mirrored), outside
        if outside <= _CUT:
            break
    return best


def crop_frames(frames: np.ndarray, crop: CropDraw) -> np.ndarray:
    """The square of (f, s, s, 3) uint8 frames at the frames' own size, mirrored where the crop is."""
    size = frames.shape[1]
    left, top, side = size * crop.left, size * crop.top, size * crop.side
    box = (left, top, left + side, top + side)
    with ThreadPoolExecutor(usable_cpus()) as pool:  # Pillow lets other threads go on
        out = np.stack(list(pool.map(partial(_resized, size=size, box=box), frames)))
    return np.ascontiguousarray(out[:, :, ::-1]) if crop.mirrored else out


def _resized(frame: np.ndarray, size: int, box: tuple[float, float, float, float]) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC, box))


def crop_sequence(sequence: LandmarkSequence, crop: CropDraw) -> LandmarkSequence:
    """The landmarks in the crop, as fractions of its square. Without poses, which its camera would change, and without
    blendshapes, which name sides."""
    points = sequence.points.copy()
    points[..., :2] = (points[..., :2] - np.array([crop.left, crop.top], np.float32)) / np.float32(crop.side)
    points[..., 2] /= np.float32(crop.side)
    return replace(sequence, points=mirrored(points) if crop.mirrored else points, matrix=None, blendshapes=None)
