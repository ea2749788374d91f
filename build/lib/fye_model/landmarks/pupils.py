"""Pupils carried from one face to another: where the iris points lie in the eye's box is what gaze is.

The mesh of the canonical space has no pupils; the driving frame's iris points are measured relative to the box around
each eye's contour and put at the same place of the drawn eye's box (paper section 4.1; the box is the release's).
"""

from __future__ import annotations

import numpy as np

from fye_model.landmarks import topology

_EYES = ((topology.RIGHT_EYE, topology.RIGHT_IRIS), (topology.LEFT_EYE, topology.LEFT_IRIS))
_MIN_BOX = 1e-6  # of the points' unit; a box this thin (an eye seen edge-on) says nothing about the iris


def place_pupils(mesh: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Add the ten iris points to projected meshes, each where it is in the source's eye box.

    mesh: (f, 468 or more, 2), only its mesh points are used; source: (f, 478, 2) landmarks of the driving frames, both
    in pixels (any pixel size) -> (f, 478, 2), NaN where either is NaN.
    """
    return put_irises(mesh, iris_places(source))


def iris_places(points: np.ndarray) -> np.ndarray:
    """Where the ten iris points lie in their eyes' boxes, from 0 to 1: (f, 478, 2) -> (f, 10, 2)."""
    places = []
    for eye, iris in _EYES:
        low, size = _box(points, eye)
        relative = (points[:, iris] - low) / np.where(size < _MIN_BOX, np.inf, size)
        places.append(np.where(size < _MIN_BOX, 0.5, relative))
    return np.concatenate(places, axis=1)


def put_irises(mesh: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Add iris points at `places` (f, 10, 2) of the eyes' boxes: (f, 468 or more, 2) -> (f, 478, 2)."""
    points = np.empty((len(mesh), topology.POINTS, 2))
    points[:, : topology.MESH_POINTS] = mesh[:, : topology.MESH_POINTS]
    for index, (eye, iris) in enumerate(_EYES):
        low, size = _box(mesh, eye)
        points[:, iris] = low + places[:, 5 * index : 5 * index + 5] * size
    return points


def turned(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Points (f, n, 2) turned around the origin by an angle (f,) in radians, from x towards y."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = points[..., 0], points[..., 1]
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


def gaze(points: np.ndarray) -> np.ndarray:
    """Position of each pupil in its eye, from 0 to 1 across the eye's box: (f, 478, 2) -> (f, 2 eyes, 2)."""
    out = []
    for eye, iris in _EYES:
        low, size = _box(points, eye)
        out.append((points[:, iris[:1]] - low) / np.maximum(size, _MIN_BOX))
    return np.concatenate(out, axis=1)


def _box(points: np.ndarray, eye: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Lower corner and size of the box around an eye's contour, each (f, 1, 2)."""
    contour = np.asarray(points[:, eye], np.float64)
    low, high = contour.min(axis=1, keepdims=True), contour.max(axis=1, keepdims=True)
    return low, high - low
