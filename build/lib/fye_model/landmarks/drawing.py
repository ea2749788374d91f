"""Landmarks drawn as the denoiser's condition: coloured lines for brows, eyes and inner lips, a square per pupil.

Parts, colours and sizes are the public release's, at 512x512; other sizes scale the line width and the squares. The
lines are exactly those of OpenCV's 8-connected integer rasteriser, computed for all frames at once in NumPy.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.pupils import place_pupils
from fye_model.landmarks.table import LandmarkSequence

Variant = Literal["expression_aware", "plain_2d", "with_contour", "without_pupils"]
# Drawn from the 3D mesh, whose motion can be laid onto another face; 2D landmarks keep their own face's shape.
ALIGNED: tuple[Variant, ...] = ("expression_aware", "with_contour", "without_pupils")

_BASE_SIZE = 512
_LINE_WIDTH = 1  # pixels at 512x512
_PUPIL_HALF = 3  # pixels at 512x512: the square spans [-3, 3) around the pupil's pixel
_CHUNK = 32  # frames rasterised together: large enough to amortise NumPy, small enough to stay in cache


def landmark_points(
    sequence: LandmarkSequence, variant: Variant = "expression_aware", geometry: FaceGeometry | None = None
) -> np.ndarray:
    """Points that training draws for a sequence: the 3D mesh projected to the image, or the raw 2D landmarks.

    All variants but `plain_2d` project the metric mesh with the frame's pose and put the pupils where they were
    relative to the eye box (paper section 4.1); `geometry` is then required, and is the one for `sequence.model`. A
    face projected with its own pose lands on its 2D landmarks again, to rounding: the variants part ways when the
    motion goes to another face, where only the 3D mesh can be aligned (`alignment.align_motion`).
    Returns (f, 478, 2) float64 pixels of the sequence's frames, NaN for invalid frames.
    """
    _check_variant(variant)
    raw = sequence.pixels()
    if variant == "plain_2d":
        return raw
    if geometry is None:
        raise ValueError(
            f"variant {variant!r} projects the 3D mesh: pass geometry (FaceGeometry.from_task or mean_mesh)"
        )
    vertices, matrix = geometry.estimate(sequence.points, sequence.width, sequence.height)
    mesh = geometry.project(vertices, matrix, sequence.width, sequence.height)
    return place_pupils(mesh, raw)


def draw_landmarks(
    points_px: np.ndarray,
    height: int,
    width: int,
    variant: Variant = "expression_aware",
    *,
    drop_outside: bool = False,
) -> np.ndarray:
    """Draw landmarks on black. Frames with NaN among their points stay black.

    `expression_aware` and `plain_2d` draw the same parts (they differ in the points, see `landmark_points`);
    `with_contour` adds the whole face oval, `without_pupils` leaves the pupils out. Lines that leave the image are cut
    at its border; with `drop_outside` a line with an end outside is left out, as in the release.
    points_px: (f, 478, 2) pixels, x then y -> (f, height, width, 3) uint8 RGB.
    """
    _check_variant(variant)
    points_px = np.asarray(points_px)
    if points_px.ndim != 3 or points_px.shape[1:] != (topology.POINTS, 2):
        raise ValueError(f"points_px must have shape (f, {topology.POINTS}, 2), got {points_px.shape}")
    images = np.zeros((len(points_px), height, width, 3), np.uint8)
    edges, colours = _edges(variant)
    scale = min(height, width) / _BASE_SIZE
    brush = max(1, round(_LINE_WIDTH * scale))
    half = max(1, round(_PUPIL_HALF * scale))
    drawable = np.isfinite(points_px).all(axis=(1, 2))
    for start in range(0, len(points_px), _CHUNK):
        frames = start + np.flatnonzero(drawable[start : start + _CHUNK])
        pixels = _to_pixels(points_px[frames], height, width)
        _draw_lines(images, frames, pixels[:, edges], colours, brush, drop_outside)
    if variant != "without_pupils":
        _draw_pupils(images, np.flatnonzero(drawable), points_px, half)
    return images


def _check_variant(variant: str) -> None:
    if variant not in get_args(Variant):
        raise ValueError(f"unknown landmark image variant {variant!r}; choose from {', '.join(get_args(Variant))}")


def _edges(variant: Variant) -> tuple[np.ndarray, np.ndarray]:
    """Edges (e, 2) in drawing order and their colours (e, 3)."""
    parts = (topology.CONTOUR, *topology.PARTS) if variant == "with_contour" else topology.PARTS
    edges = np.array([edge for part in parts for edge in part.edges])
    colours = np.array([part.colour for part in parts for _ in part.edges], np.uint8)
    return edges, colours


def _to_pixels(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Integer pixel of each point. Single precision first: the release's points pass through a float32 message.

    Absurdly distant points are pulled to a few image sizes away, so that no line has millions of pixels.
    """
    limit = 4.0 * max(height, width)
    return np.floor(np.clip(points.astype(np.float32), -limit, limit)).astype(np.int64)


def _draw_lines(
    images: np.ndarray, frames: np.ndarray, ends: np.ndarray, colours: np.ndarray, brush: int, drop_outside: bool
) -> None:
    """Draw lines with integer ends (n, e, 2 ends, 2) on images[frames], later edges over earlier ones."""
    height, width = images.shape[1:3]
    lines = ends.reshape(-1, 2, 2)
    frame_of_line = np.repeat(frames, ends.shape[1])
    colour_of_line = np.tile(np.arange(len(colours)), len(frames))
    # A line is walked from its left end: this decides on which side ties of the rounding fall.
    swap = lines[:, 0, 0] > lines[:, 1, 0]
    lines = np.where(swap[:, None, None], lines[:, ::-1], lines)
    size = np.array([width, height])
    outside = (lines < 0) | (lines >= size)
    if drop_outside:
        keep = ~outside.any(axis=(1, 2))
    else:
        keep = ~np.any((lines < 0).all(axis=1) | (lines >= size).all(axis=1), axis=1)
    lines, frame_of_line, colour_of_line = lines[keep], frame_of_line[keep], colour_of_line[keep]

    delta = lines[:, 1] - lines[:, 0]
    steps = np.abs(delta).max(axis=1)
    counts = steps + 1
    line = np.repeat(np.arange(len(lines)), counts)
    step = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Bresenham in closed form: after k of n steps the slow axis has moved ceil(k*d/n - 1/2), ties towards the start.
    n = np.maximum(steps, 1)[line]
    x, y = (_advance(delta[line, axis], step, n) + lines[line, 0, axis] for axis in (0, 1))
    frame, colour = frame_of_line[line], colour_of_line[line]
    if brush > 1:
        offset = np.arange(brush) - (brush - 1) // 2
        x = (x[:, None, None] + offset).repeat(brush, axis=1).ravel()
        y = (y[:, None, None] + offset[:, None]).repeat(brush, axis=2).ravel()
        frame, colour = frame.repeat(brush * brush), colour.repeat(brush * brush)
    if brush > 1 or outside[keep].any():
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        x, y, frame, colour = x[inside], y[inside], frame[inside], colour[inside]
    images.reshape(-1, 3)[(frame * height + y) * width + x] = colours[colour]


def _advance(delta: np.ndarray, step: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Offset along one axis after `step` of `n` steps of a line that spans `delta` on that axis."""
    magnitude = np.abs(delta) * step
    result: np.ndarray = np.sign(delta) * -((n - 2 * magnitude) // (2 * n))
    return result


def _draw_pupils(images: np.ndarray, frames: np.ndarray, points: np.ndarray, half: int) -> None:
    height, width = images.shape[1:3]
    pupils = _to_pixels(points[frames][:, topology.PUPILS], height, width)
    low = np.maximum(pupils - half, 0).tolist()
    high = np.maximum(pupils + half, 0).tolist()
    for frame, lows, highs in zip(frames, low, high, strict=True):
        for (x0, y0), (x1, y1) in zip(lows, highs, strict=True):
            images[frame, y0:y1, x0:x1] = topology.PUPIL_COLOUR
