"""Known damage to real pictures of a face: regions pasted or mirrored through soft masks, frames moved in time."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from fye_model.evaluation.faces import FaceTrack
from fye_model.landmarks import topology

_MOUTH = (*topology.OUTER_LIPS, 2, 152)  # down to the chin, which opens with it
RIM, TEETH, GAP = (35, 28, 25), (225, 218, 205), (40, 18, 18)
Colour = tuple[int, int, int]
_EYES = (topology.RIGHT_EYE, topology.LEFT_EYE)


def blurred(frames: np.ndarray, sigma: float) -> np.ndarray:
    """Frames (f, h, w, 3) out of focus."""
    return gaussian_filter(frames, (0, sigma, sigma, 0))


def flickering(frames: np.ndarray, grey_levels: float = 5.0, blot_px: float = 6.0, lasting: bool = False) -> np.ndarray:
    """Soft blots (standard deviation and size) on the whole picture, others in every frame; `lasting`: the same."""
    random = np.random.default_rng(0)
    blots = gaussian_filter(random.standard_normal(frames.shape[:3]), (0, blot_px, blot_px), mode="wrap")
    blots *= grey_levels / blots.std()
    if lasting:
        blots = np.broadcast_to(blots[:1], blots.shape)
    return np.asarray((frames + blots[..., None]).round().clip(0, 255), np.uint8)


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


def with_glasses(frames: np.ndarray, faces: FaceTrack, where: np.ndarray) -> np.ndarray:
    """Dark-rimmed glasses painted on the faces of the frames `where` (f,) bool."""
    out = frames.copy()
    y, x = np.mgrid[: frames.shape[1], : frames.shape[2]] + 0.5
    for frame in np.flatnonzero(where):
        points = faces.pixels[frame]
        iod = float(np.linalg.norm(points[33] - points[263]))
        mask, inner = np.zeros(frames.shape[1:3]), []
        for eye, (outside, inside) in zip(_EYES, ((33, 133), (263, 362)), strict=True):
            along = points[inside] - points[outside]
            length = float(np.linalg.norm(along))
            along = along / length
            middle = points[list(eye)].mean(axis=0) + np.array((0, 0.03 * iod))
            u = ((x - middle[0]) * along[0] + (y - middle[1]) * along[1]) / (0.82 * length)
            v = ((y - middle[1]) * along[0] - (x - middle[0]) * along[1]) / (0.62 * length)
            mask = np.maximum(mask, np.clip(1.5 - np.abs(np.hypot(u, v) - 1) / (0.022 * iod / (0.7 * length)), 0, 1))
            inner.append(middle + along * 0.82 * length)
        start, bridge = inner[0], inner[1] - inner[0]
        share = ((x - start[0]) * bridge[0] + (y - start[1]) * bridge[1]) / max(float(bridge @ bridge), 1e-6)
        share = np.clip(share, 0, 1)
        away = np.hypot(x - start[0] - share * bridge[0], y - start[1] - share * bridge[1])
        mask = np.maximum(mask, np.clip(1.5 - away / (0.018 * iod), 0, 1))
        out[frame] = _blend(out[frame], np.array(RIM), mask[..., None])
    return out


def with_teeth(frames: np.ndarray, faces: FaceTrack, where: np.ndarray, colour: Colour = TEETH) -> np.ndarray:
    """A row of teeth, or a gap, painted between the lips of the frames `where` (f,) bool, open or not."""
    out, (height, width) = frames.copy(), frames.shape[1:3]
    for frame in np.flatnonzero(where):
        lips = faces.pixels[frame][list(topology.OUTER_LIPS)]
        middle = lips.mean(axis=0)
        drawn = Image.new("L", (4 * width, 4 * height))
        edge = [(float(px), float(py)) for px, py in 4 * ((lips - middle) * (0.75, 0.5) + middle)]
        ImageDraw.Draw(drawn).polygon(edge, fill=255)
        mask = np.asarray(drawn.resize((width, height), Image.Resampling.BOX)) / 255
        out[frame] = _blend(out[frame], np.array(colour), gaussian_filter(mask, 0.7)[..., None])
    return out


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
