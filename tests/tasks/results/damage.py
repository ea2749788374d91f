"""Known damage to real pictures of a face: regions pasted or mirrored through soft masks, frames moved in time."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from fye_model.evaluation.faces import FaceTrack
from fye_model.landmarks import topology

_MOUTH = (*topology.OUTER_LIPS, 2, 152)  # down to the chin, which opens with it
_EYES = (topology.RIGHT_EYE, topology.LEFT_EYE)


def blurred(frames: np.ndarray, sigma: float) -> np.ndarray:
    """Frames (f, h, w, 3) out of focus."""
    return gaussian_filter(frames, (0, sigma, sigma, 0))


def late(frames: np.ndarray, by: int = 1) -> np.ndarray:
    """Every frame shows what should have been seen `by` frames before."""
    return frames[np.maximum(np.arange(len(frames)) - by, 0)]


def with_mouth_of(frames: np.ndarray, faces: FaceTrack, chosen: int) -> np.ndarray:
    """The mouth of one frame in all of them, moved along with the nose."""
    return _pasted(frames, faces, chosen, _MOUTH, anchor=(2,), grow=0.25)


def with_eyes_of(frames: np.ndarray, faces: FaceTrack, chosen: int) -> np.ndarray:
    """The eyes of one frame in all of them, moved along with their corners."""
    for eye, corners in zip(_EYES, ((33, 133), (263, 362)), strict=True):
        frames = _pasted(frames, faces, chosen, eye, anchor=corners, grow=0.5)
    return frames


def with_mirrored_eyes(frames: np.ndarray, faces: FaceTrack) -> np.ndarray:
    """Each eye mirrored in its place: looking left becomes looking right."""
    out = frames.copy()
    for frame, points in enumerate(faces.pixels):
        for eye in _EYES:
            middle = (points[list(eye)].min(axis=0) + points[list(eye)].max(axis=0)) / 2
            mask = _soft_mask(frames.shape[1:3], points[list(eye)], 0.35)
            columns = np.clip(np.round(2 * middle[0] - 1 - np.arange(frames.shape[2])).astype(int), 0, None)
            mirrored = frames[frame][:, np.minimum(columns, frames.shape[2] - 1)]
            out[frame] = _blend(out[frame], mirrored, mask)
    return out


def at_half_amplitude(frames: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """For every frame the one whose signal (f,) is nearest to half of its distance from the mean."""
    wanted = signal.mean() + (signal - signal.mean()) / 2
    return frames[np.abs(signal[None] - wanted[:, None]).argmin(axis=1)]


def _pasted(
    frames: np.ndarray, faces: FaceTrack, chosen: int, part: tuple[int, ...], anchor: tuple[int, ...], grow: float
) -> np.ndarray:
    out = frames.copy()
    places = faces.pixels[:, list(anchor)].mean(axis=1)
    for frame in range(len(frames)):
        dx, dy = np.round(places[frame] - places[chosen]).astype(int)
        moved = np.roll(frames[chosen], (dy, dx), axis=(0, 1))
        both = np.concatenate([faces.pixels[chosen, list(part)] + (dx, dy), faces.pixels[frame, list(part)]])
        out[frame] = _blend(frames[frame], moved, _soft_mask(frames.shape[1:3], both, grow))
    return out


def _soft_mask(size: tuple[int, int], points: np.ndarray, grow: float) -> np.ndarray:
    """An ellipse around points (n, 2), larger by a share of itself, fading out at its edge: (h, w, 1)."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle, radius = (low + high) / 2, (high - low) / 2 * (1 + grow) + 2
    rows, columns = np.mgrid[: size[0], : size[1]]
    distance = np.sqrt(((columns - middle[0]) / radius[0]) ** 2 + ((rows - middle[1]) / radius[1]) ** 2)
    return np.clip((1.3 - distance) / 0.3, 0, 1)[..., None]


def _blend(below: np.ndarray, above: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return (below * (1 - mask) + above * mask).round().astype(np.uint8)
