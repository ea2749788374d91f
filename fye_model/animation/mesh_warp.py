"""A portrait moved without any network: its picture bent by the triangles between its landmarks.

What simple means reach, as a method to hold others against: it moves what can be seen, and invents nothing. No teeth
show in a mouth that was closed, and what a turning head hides or shows is squeezed or stretched.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.spatial import Delaunay
from skimage.draw import polygon

from fye_model.animation.driving import hold_missing
from fye_model.landmarks.table import LandmarkSequence
from fye_model.landmarks.topology import interocular_distance

_PER_SIDE = 8  # points along each side of the picture that stay where they are
_LEAST_PX2 = 1e-3  # twice the area of a triangle below which it has no inside


def relative_points(driver: LandmarkSequence, reference: LandmarkSequence) -> np.ndarray:
    """The reference's landmarks, moved as the driver's move since its first face: (f, 478, 2) pixels of the reference.

    In the picture's plane, in interocular distances of each face; a driver whose first frame is the reference gives its
    own landmarks again. Frames without a face hold a neighbour's. reference: one frame with a face. Raises ValueError
    for a driver without any, and for a reference without one.
    """
    if len(reference) != 1 or not reference.valid[0]:
        raise ValueError("the reference must be one frame with a face in it")
    if not driver.valid.any():
        raise ValueError(f"none of the driver's {len(driver)} frames shows a face: there is nothing to warp by")
    points, own = driver.pixels().astype(np.float64), reference.pixels()[0].astype(np.float64)
    first = points[np.flatnonzero(driver.valid)[0]]
    scale = float(interocular_distance(own) / interocular_distance(first))
    return hold_missing(own + scale * (points - first))[0]


def mesh_warp(picture: np.ndarray, source: np.ndarray, targets: np.ndarray) -> Iterator[np.ndarray]:
    """The picture with its landmarks at each of the targets, one frame after another.

    picture: (h, w, 3) uint8. source: (n, 2), targets: (f, n, 2) in pixels, x then y. Triangles are those of a Delaunay
    triangulation of the source; the picture's border stays. Triangles that a motion turns over lie under the others.
    Raises ValueError for landmarks that are not finite.
    """
    if not (np.isfinite(source).all() and np.isfinite(targets).all()):
        raise ValueError("a mesh warp needs all landmarks in the portrait and in every frame, and some are missing")
    height, width = picture.shape[:2]
    border = _border(height, width)
    rest = np.concatenate([source, border])
    triangles = Delaunay(rest).simplices
    for target in targets:
        moved = np.concatenate([target, border])
        yield _bent(picture, rest[triangles], moved[triangles])


def _border(height: int, width: int) -> np.ndarray:
    """Points along the four sides: (4 per side, 2)."""
    along = np.linspace(0, 1, _PER_SIDE, endpoint=False)
    zero, one = np.zeros(_PER_SIDE), np.ones(_PER_SIDE)
    sides = [(along, zero), (one, along), (1 - along, one), (zero, 1 - along)]
    points = np.concatenate([np.stack(side, axis=1) for side in sides])
    return np.asarray(points * (width - 1, height - 1))


def _bent(picture: np.ndarray, rest: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Each pixel from where its triangle was: rest, moved (t, 3, 2) -> (h, w, 3) uint8."""
    height, width = picture.shape[:2]
    turned = np.sign(_twice_area(moved)) != np.sign(_twice_area(rest))
    inside = np.abs(_twice_area(moved)) > _LEAST_PX2
    which = np.full((height, width), -1)
    for triangle in sorted(np.flatnonzero(inside), key=lambda t: not turned[t]):
        rows, columns = polygon(moved[triangle, :, 1], moved[triangle, :, 0], (height, width))
        which[rows, columns] = triangle
    if (which < 0).any():  # pixels between triangles, or beyond a border that landmarks crossed
        nearest = distance_transform_edt(which < 0, return_distances=False, return_indices=True)
        which = which[tuple(nearest)]
    corners = np.concatenate([moved, np.ones((*moved.shape[:2], 1))], axis=2)
    back = np.zeros((len(moved), 3, 2))
    back[inside] = np.linalg.solve(corners[inside], rest[inside])
    rows, columns = np.mgrid[:height, :width]
    x, y = (columns * back[which, 0, axis] + rows * back[which, 1, axis] + back[which, 2, axis] for axis in (0, 1))
    channels = [map_coordinates(picture[..., c], (y, x), np.float32, order=1, mode="nearest") for c in range(3)]
    return np.stack(channels, axis=-1).round().clip(0, 255).astype(np.uint8)


def _twice_area(triangles: np.ndarray) -> np.ndarray:
    """Signed: (t, 3, 2) -> (t,)."""
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return np.asarray(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
