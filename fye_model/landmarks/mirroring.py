"""A face seen in a mirror: which landmark becomes which, so that left stays the subject's left."""

from __future__ import annotations

import functools

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry

# around an iris MediaPipe counts from the image's right over top and left to bottom, for both eyes
_IRISES = {468: 473, 469: 476, 470: 475, 471: 474, 472: 477}


@functools.cache
def mirror_index() -> np.ndarray:
    """(478,) int: the point that each landmark becomes in a mirror. It is its own inverse.

    The canonical mesh is symmetric, so a vertex's partner is the one that lies where its mirror image does.
    """
    vertices = FaceGeometry.mean_mesh().canonical
    distance = np.linalg.norm(vertices[:, None] * [-1, 1, 1] - vertices[None], axis=-1)
    index = np.arange(topology.POINTS)
    index[: topology.MESH_POINTS] = distance.argmin(axis=1)
    for right, left in _IRISES.items():
        index[right], index[left] = left, right
    return index


def mirrored(points: np.ndarray) -> np.ndarray:
    """Landmarks (f, 478, 3), x as a fraction of the frame's width, of the frames mirrored left to right."""
    result: np.ndarray = points[:, mirror_index()]
    result[..., 0] = 1 - result[..., 0]
    return result
