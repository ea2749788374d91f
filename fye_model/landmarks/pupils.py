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
    points = np.empty((len(mesh), topology.POINTS, 2))
    points[:, : topology.MESH_POINTS] = mesh[:, : topology.MESH_POINTS]
    for eye, iris in _EYES:
        low, size = _box(source, eye)
        target_low, target_size = _box(mesh, eye)
        relative = (source[:, iris] - low) / np.where(size < _MIN_BOX, np.inf, size)
        relative = np.where(size < _MIN_BOX, 0.5, relative)
        points[:, iris] = target_low + relative * target_size
    return points


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
