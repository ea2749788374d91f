"""The two masks of the facial fine-grained loss: around the expression points, and the whole face.

Both are computed at image size and area-averaged to latent size, so that fractions are kept (paper section 4.2; the
radius is ours). Pixel (row, column) covers [column, column + 1) x [row, row + 1); its centre decides.
"""

from __future__ import annotations

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.table import LandmarkSequence

_MIN_RADIUS_PX = 0.75  # every disc then holds at least one pixel centre (the farthest is sqrt(1/2) away)
_CHUNK = 64  # frames whose full-size masks are in memory together


def expression_mask(points_px: np.ndarray, height: int, width: int, radius_fraction: float = 0.02) -> np.ndarray:
    """M_e: discs around every expression-aware landmark (brows, eyes, inner lips, pupils).

    The radius is a fraction of the longer side of the frame's face box. Frames with NaN points get an empty mask.
    points_px: (f, 478, 2) -> (f, height, width) bool.
    """
    masks = np.zeros((len(points_px), height, width), bool)
    for mask, points in zip(masks, np.asarray(points_px, np.float64), strict=True):
        if not np.isfinite(points).all():
            continue
        mesh = points[: topology.MESH_POINTS]
        box = mesh.max(axis=0) - mesh.min(axis=0)
        _stamp_discs(mask, points[list(topology.EXPRESSION_POINTS)], max(radius_fraction * box.max(), _MIN_RADIUS_PX))
    return masks


def _stamp_discs(mask: np.ndarray, centres: np.ndarray, radius: float) -> None:
    """Set the pixels of `mask` (h, w) whose centres are within `radius` of one of the centres (n, 2)."""
    height, width = mask.shape
    centres = centres[((centres > -radius) & (centres < np.array([width, height]) + radius)).all(axis=1)]
    reach = np.arange(-int(np.ceil(radius)), int(np.ceil(radius)) + 1)
    columns = np.floor(centres[:, 0]).astype(int)[:, None] + reach
    rows = np.floor(centres[:, 1]).astype(int)[:, None] + reach
    dx2 = (columns + 0.5 - centres[:, :1]) ** 2
    dy2 = (rows + 0.5 - centres[:, 1:]) ** 2
    hit = dy2[:, :, None] + dx2[:, None, :] <= radius * radius
    hit &= ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    disc, row, column = np.nonzero(hit)
    mask[rows[disc, row], columns[disc, column]] = True


def face_mask(points_px: np.ndarray, height: int, width: int) -> np.ndarray:
    """M_f: the polygon through the face oval, filled by non-zero winding so that a face in profile has no holes.

    Frames with NaN points get an empty mask. points_px: (f, 478, 2) -> (f, height, width) bool.
    """
    oval = np.asarray(points_px, np.float64)[:, topology.FACE_OVAL]
    masks = np.zeros((len(oval), height, width), bool)
    for mask, (x0, y0) in zip(masks, oval.transpose(0, 2, 1), strict=True):
        if not (np.isfinite(x0).all() and np.isfinite(y0).all()):
            continue
        rows, columns = _span(y0, height), _span(x0, width)
        row_centres = np.arange(rows.start, rows.stop) + 0.5
        x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
        above0, above1 = row_centres[:, None] < y0, row_centres[:, None] < y1
        row, edge = np.nonzero(above0 != above1)
        slope = (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
        crossing = x0[edge] + (row_centres[row] - y0[edge]) * slope
        first_inside = np.clip(np.ceil(crossing - 0.5), columns.start, columns.stop).astype(int) - columns.start
        direction = np.where(above0[row, edge], -1, 1)
        winding = np.zeros((len(row_centres), columns.stop - columns.start + 1), np.int8)
        np.add.at(winding, (row, first_inside), direction.astype(np.int8))
        mask[rows, columns] = np.cumsum(winding[:, :-1], axis=1, dtype=np.int8) != 0
    return masks


def _span(coordinates: np.ndarray, length: int) -> slice:
    """The pixels of 0 .. length between the least and the largest coordinate, rounded outwards."""
    low, high = np.clip((np.floor(coordinates.min()), np.ceil(coordinates.max())), 0, length)
    return slice(int(low), int(high))


def to_latent(mask: np.ndarray, factor: int = 8) -> np.ndarray:
    """Fraction of each latent cell that the mask covers: (f, h, w) -> (f, h/factor, w/factor) float32 in [0, 1]."""
    frames, height, width = mask.shape
    if height % factor or width % factor:
        raise ValueError(f"mask of {height}x{width} cannot be averaged to latents: sides must be divisible by {factor}")
    # counts of pixels, row by row, then column by column: whole numbers, so the same fractions as a mean gives
    rows = mask.view(np.uint8).reshape(frames, height // factor, factor, width)
    count = rows.sum(axis=2, dtype=np.uint16).reshape(frames, height // factor, width // factor, factor)
    result: np.ndarray = count.sum(axis=3, dtype=np.uint32).astype(np.float32) / np.float32(factor * factor)
    return result


def latent_masks(sequence: LandmarkSequence, radius_fraction: float, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Expression and face masks of a clip at latent size: two (f, height / factor, width / factor) float32."""
    pixels = sequence.pixels()
    expression, face = [], []
    for start in range(0, len(pixels), _CHUNK):
        chunk = pixels[start : start + _CHUNK]
        points = (chunk, sequence.height, sequence.width)
        expression.append(to_latent(expression_mask(*points, radius_fraction), factor))
        face.append(to_latent(face_mask(*points), factor))
    return np.concatenate(expression), np.concatenate(face)
