"""The two masks of the facial fine-grained loss: around the expression points, and the whole face.

Both are defined at image size and area-averaged to latent size, so that fractions are kept (paper section 4.2; the
radius is ours). Pixel (row, column) covers [column, column + 1) x [row, row + 1); its centre decides.

A mask is worked out as the runs of pixels that it has in each row. They are drawn where somebody wants pixels; the
latent cells' shares are counted from where runs begin and end, to the same values as from a drawn mask.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.table import LandmarkSequence

_MIN_RADIUS_PX = 0.75  # every disc then holds at least one pixel centre (the farthest is sqrt(1/2) away)
_CHUNK = 64  # frames whose runs are in memory together


class _Runs(NamedTuple):
    """Runs of pixels, (n,) each: pixels start .. stop (half-open) of a row; rows are numbered on from frame to frame.

    No two of them overlap.
    """

    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray


def expression_mask(points_px: np.ndarray, height: int, width: int, radius_fraction: float = 0.02) -> np.ndarray:
    """M_e: discs around every expression-aware landmark (brows, eyes, inner lips, pupils).

    The radius is a fraction of the longer side of the frame's face box. Frames with NaN points get an empty mask.
    points_px: (f, 478, 2) -> (f, height, width) bool.
    """
    return _drawn(_expression_runs(points_px, height, width, radius_fraction), len(points_px), height, width)


def face_mask(points_px: np.ndarray, height: int, width: int) -> np.ndarray:
    """M_f: the polygon through the face oval, filled by non-zero winding so that a face in profile has no holes.

    Frames with NaN points get an empty mask. points_px: (f, 478, 2) -> (f, height, width) bool.
    """
    return _drawn(_face_runs(points_px, height, width), len(points_px), height, width)


def latent_masks(sequence: LandmarkSequence, radius_fraction: float, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Expression and face masks of a clip at latent size: two (f, height / factor, width / factor) float32.

    Each cell holds the fraction that the mask covers. ValueError where `factor` does not divide the clip's sides.
    """
    height, width = sequence.height, sequence.width
    if height % factor or width % factor:
        raise ValueError(f"mask of {height}x{width} cannot be averaged to latents: sides must be divisible by {factor}")
    pixels = sequence.pixels()
    expression, face = [], []
    for start in range(0, len(pixels), _CHUNK):
        chunk = pixels[start : start + _CHUNK]
        size = (len(chunk), height, width, factor)
        expression.append(_shares(_expression_runs(chunk, height, width, radius_fraction), *size))
        face.append(_shares(_face_runs(chunk, height, width), *size))
    return np.concatenate(expression), np.concatenate(face)


def _expression_runs(points_px: np.ndarray, height: int, width: int, radius_fraction: float) -> _Runs:
    points = np.asarray(points_px, np.float64)
    frames = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))
    points = points[frames]
    mesh = np.ascontiguousarray(points[:, : topology.MESH_POINTS].transpose(0, 2, 1))
    longer = np.ptp(mesh, axis=2).max(axis=1)
    radius = np.maximum(radius_fraction * longer, _MIN_RADIUS_PX)[:, None, None]
    x, y = points[:, list(topology.EXPRESSION_POINTS)].transpose(2, 0, 1)[..., None]
    reach = int(np.ceil(radius.max(initial=0)))
    row = np.floor(y) + np.arange(-reach, reach + 1)  # (f, points, rows of a disc)
    room = radius**2 - (row + 0.5 - y) ** 2
    half = np.sqrt(np.maximum(room, 0))
    start = np.clip(np.ceil(x - half - 0.5), 0, width)
    stop = np.clip(np.floor(x + half + 0.5), 0, width)
    there = (room >= 0) & (row >= 0) & (row < height) & (start < stop)
    row = (row + (height * frames)[:, None, None])[there]
    ends = np.concatenate([start[there], stop[there]])
    return _joined(np.concatenate([row, row]), ends, np.repeat([True, False], len(row)), width)


def _face_runs(points_px: np.ndarray, height: int, width: int) -> _Runs:
    oval = np.asarray(points_px, np.float64)[:, topology.FACE_OVAL]
    frames = np.flatnonzero(np.isfinite(oval).all(axis=(1, 2)))
    x0, y0 = oval[frames].transpose(2, 0, 1)
    x1, y1 = np.roll(x0, -1, axis=1), np.roll(y0, -1, axis=1)
    # an edge crosses the centres of these rows
    first, end = (np.clip(np.ceil(pick(y0, y1) - 0.5), 0, height).astype(int) for pick in (np.minimum, np.maximum))
    count = (end - first).ravel()
    edge = np.repeat(np.arange(count.size), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - first.ravel(), count)
    slope = (x1 - x0).ravel()[edge] / (y1 - y0).ravel()[edge]
    crossing = x0.ravel()[edge] + (row + 0.5 - y0.ravel()[edge]) * slope
    x = np.clip(np.ceil(crossing - 0.5), 0, width)
    return _joined(row + height * frames[edge // len(topology.FACE_OVAL)], x, (y1 > y0).ravel()[edge], width)


def _joined(row: np.ndarray, x: np.ndarray, opening: np.ndarray, width: int) -> _Runs:
    """Runs where more steps open than close, or the other way round. row, x, opening: (n,) of each step.

    In every row as many open as close.
    """
    steps = np.sort(((row * (width + 1) + x) * 2 + opening).astype(np.int64))
    place = steps >> 1
    inside = (np.cumsum(2 * (steps & 1) - 1)[:-1] != 0) & (place[:-1] < place[1:])
    row = place[:-1][inside] // (width + 1)
    return _Runs(row, *(side[inside] - row * (width + 1) for side in (place[:-1], place[1:])))


def _drawn(runs: _Runs, frames: int, height: int, width: int) -> np.ndarray:
    """(f, height, width) bool."""
    masks = np.zeros((frames * height, width), bool)
    if len(runs.row):
        left, right = int(runs.start.min()), int(runs.stop.max())
        rows = slice(int(runs.row.min()), int(runs.row.max()) + 1)
        steps = np.zeros((rows.stop - rows.start, right - left + 1), np.int8)
        steps[runs.row - rows.start, runs.start - left] += 1
        steps[runs.row - rows.start, runs.stop - left] -= 1
        masks[rows, left:right] = np.cumsum(steps[:, :-1], axis=1, dtype=np.int8)
    return masks.reshape(frames, height, width)


def _shares(runs: _Runs, frames: int, height: int, width: int, factor: int) -> np.ndarray:
    """Share of each latent cell that the runs cover, (f, height / factor, width / factor) float32.

    A run from the left edge to x fills whole cells up to the one that holds x, and a part of that: a step of each at
    these two cells, summed up from the right. A run is the one to its stop less the one to its start.
    """
    cells = width // factor + 2
    both = np.concatenate([runs.row, runs.row]) // factor * cells
    ends = np.concatenate([runs.stop, runs.start])
    cell = ends // factor
    part = ends - cell * factor
    sign = np.repeat([1, -1], len(runs.row))
    places = np.concatenate([both + cell + 1, both + cell])
    steps = np.bincount(
        places, np.concatenate([sign * part, sign * (factor - part)]), frames * height // factor * cells
    )
    count = np.cumsum(steps.reshape(-1, cells)[:, :0:-1], axis=1)[:, :0:-1]
    result: np.ndarray = (count / (factor * factor)).astype(np.float32)
    return result.reshape(frames, height // factor, width // factor)
