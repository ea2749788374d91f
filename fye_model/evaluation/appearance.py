"""Parts of a face laid out flat: what is seen at each place, however the head is turned, and how that changes.

A grid over the frontal face is carried into every picture by the landmarks, so that a place of the grid is the same
place of the face. What is read there is the picture's detail: lighting, which changes smoothly over a turning head, is
taken out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from fye_model.evaluation.faces import IOD_POINTS, FaceTrack
from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry

Region = Literal["eyes", "mouth"]
_SIDE = 72  # of the grid
_RIM_CM = 0.3  # of the face at which the grid ends: beyond, hair and background are in the way
_DETAIL = (0.02, 0.2)  # widths of the two blurs whose difference is the detail, in IOD
_SHRUNK = 0.35  # share of its frontal size below which a part of the turned face is not seen
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Grid:
    """Places of the frontal face: each a mean of three landmarks. landmarks, shares: (n, 3); regions: (n,) bool."""

    landmarks: np.ndarray
    shares: np.ndarray
    regions: dict[Region, np.ndarray]


def drift(frames: np.ndarray, faces: FaceTrack, front: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """How far each place of each turned frame is from its median over the frames from the front: (f, n).

    front, turned: (f,) bool. NaN on other frames, without a face, where no frame from the front has one, and where the
    turned head hides the place.
    """
    places = grid()
    flat = np.full((len(frames), len(places.landmarks)), math.nan)
    size = np.full_like(flat, math.nan)
    for frame in np.flatnonzero(faces.found & (front | turned)):
        flat[frame], size[frame] = _laid_out(frames[frame], faces.pixels[frame])
    usual = front & faces.found
    if not usual.any():
        return np.full_like(flat, math.nan)
    shown = (size >= _SHRUNK * np.median(size[usual], axis=0)) & turned[:, None]
    return np.asarray(np.where(shown, np.abs(flat - np.median(flat[usual], axis=0)), math.nan))


def _laid_out(picture: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Detail at every place of the grid, and the size in pixels of the triangle that it lies in: (n,) each."""
    from scipy.ndimage import gaussian_filter, map_coordinates  # slow to import, and a cached run needs none of it

    places = grid()
    iod = float(np.linalg.norm(points[IOD_POINTS[0]] - points[IOD_POINTS[1]]))
    grey = picture @ np.array(_GREY) / 255
    detail = gaussian_filter(grey, _DETAIL[0] * iod) - gaussian_filter(grey, _DETAIL[1] * iod)
    corners = points[places.landmarks]
    x, y = (corners * places.shares[..., None]).sum(axis=1).T - 0.5
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    size = one[:, 1] * other[:, 0] - one[:, 0] * other[:, 1]  # y of pictures points down
    return np.asarray(map_coordinates(detail, [y, x], order=1, mode="nearest")), size


@cache
def grid() -> Grid:
    """The grid, of the mean face whatever face is measured: it only says which places are compared."""
    from scipy.spatial import Delaunay  # slow to import, and a cached run needs none of it

    face = FaceGeometry.mean_mesh().canonical[:, :2]
    low, high = face.min(axis=0) + _RIM_CM, face.max(axis=0) - _RIM_CM
    columns, rows = np.linspace(low[0], high[0], _SIDE), np.linspace(high[1], low[1], _SIDE)
    places = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    mesh = Delaunay(face)
    inside = mesh.find_simplex(places)
    regions = {"eyes": _around_the_eyes(places, face), "mouth": _at_the_mouth(places, face)}
    used = (regions["eyes"] | regions["mouth"]) & (inside >= 0)
    places, triangles = places[used], inside[used]
    to_shares = mesh.transform[triangles]
    shares = np.einsum("nij,nj->ni", to_shares[:, :2], places - to_shares[:, 2])
    return Grid(
        landmarks=mesh.simplices[triangles],
        shares=np.column_stack([shares, 1 - shares.sum(axis=1)]),
        regions={"eyes": regions["eyes"][used], "mouth": regions["mouth"][used]},
    )


def _around_the_eyes(places: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Where glasses sit: around both eyes and on the bridge of the nose, without what opens and shuts: (n,) bool."""
    around, opening = np.zeros(len(places), bool), np.zeros(len(places), bool)
    for eye in (topology.RIGHT_EYE, topology.LEFT_EYE):
        middle, width = face[list(eye)].mean(axis=0), np.ptp(face[list(eye), 0])
        around |= _within(places, middle, (width, 0.95 * width))
        opening |= _within(places, middle, (0.62 * width, 0.38 * width))
    height = face[list(topology.RIGHT_EYE), 1].mean()
    bridge = (np.abs(places[:, 0]) < 2.0) & (np.abs(places[:, 1] - height) < 0.9)
    return np.asarray((around | bridge) & ~opening)


def _at_the_mouth(places: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Lips, and what is between them: (n,) bool."""
    lips = face[list(topology.OUTER_LIPS)]
    width, height = np.ptp(lips, axis=0) / 2
    return _within(places, lips.mean(axis=0), (float(width), float(height)))


def _within(places: np.ndarray, middle: np.ndarray, radius: tuple[float, float]) -> np.ndarray:
    return np.asarray((((places - middle) / radius) ** 2).sum(axis=1) < 1)
