"""A whole face from five points that a person can see: for animals and drawings that no landmark model finds.

The mean face is laid over the picture so that its eyes, nose and corners of the mouth lie where they were pointed at;
between them it bends smoothly. It is a human face's arrangement on another face, and no better than that.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import RBFInterpolator

from fye_model.landmarks import topology
from fye_model.landmarks.boxes import PixelBox
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.pupils import put_irises

NAMES = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")  # as one sees them
_NOSE, _MOUTH_CORNERS = 1, (61, 291)
_LEAST_PX = 4.0  # distance of the eyes


def face_from_points(points: np.ndarray, geometry: FaceGeometry) -> np.ndarray:
    """Landmarks (478, 3) in pixels from five points (5, 2) in pixels, in the order of `NAMES`; z in the same unit.

    Left and right are the picture's, of an upright face: with the eyes exchanged the face stands on its head. Raises
    ValueError where the points do not make a face.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (5, 2):
        raise ValueError(f"expected five points, {', '.join(NAMES)}, got {len(points)}")
    _check(points)
    flat = _flat(geometry)
    warp = RBFInterpolator(five_points(flat), points, kernel="thin_plate_spline", degree=1)
    scale = np.linalg.norm(points[1] - points[0]) / np.linalg.norm(five_points(flat)[1] - five_points(flat)[0])
    depth = -np.concatenate([geometry.canonical[:, 2], _iris_depth(geometry)]) * scale
    return np.column_stack([warp(flat), depth])


def face_from_box(box: PixelBox, geometry: FaceGeometry) -> np.ndarray:
    """Landmarks (478, 3) of an upright mean face that fills a box from brows to chin and from cheek to cheek."""
    if not (box.right > box.left and box.bottom > box.top):
        raise ValueError(f"box {tuple(box)} is empty: expected left,top,right,bottom in pixels")
    flat = _flat(geometry)
    low, high = flat.min(axis=0), flat.max(axis=0)
    size = np.array([box.right - box.left, box.bottom - box.top])
    return face_from_points((five_points(flat) - low) / (high - low) * size + (box.left, box.top), geometry)


def _flat(geometry: FaceGeometry) -> np.ndarray:
    """The mean face seen from the front, y down, irises in the middle of their eyes: (478, 2)."""
    mesh = geometry.canonical[:, :2] * (1, -1)
    flat: np.ndarray = put_irises(mesh[None], np.full((1, 10, 2), 0.5))[0]
    return flat


def _iris_depth(geometry: FaceGeometry) -> np.ndarray:
    eyes = [geometry.canonical[list(eye), 2].mean() for eye in (topology.RIGHT_EYE, topology.LEFT_EYE)]
    return np.repeat(eyes, 5)


def five_points(points: np.ndarray) -> np.ndarray:
    """The five points of a whole face (478, 2), the subject's right side first: it is on the picture's left."""
    eyes = [points[list(eye)].mean(axis=0) for eye in (topology.RIGHT_EYE, topology.LEFT_EYE)]
    return np.array([*eyes, points[_NOSE], *points[list(_MOUTH_CORNERS)]])


def _check(points: np.ndarray) -> None:
    left, right, nose, mouth_left, mouth_right = points
    across = right - left
    distance = float(np.linalg.norm(across))
    if distance < _LEAST_PX:
        raise ValueError(f"the eyes are {distance:.0f} pixels apart; expected {NAMES[0]} and {NAMES[1]} as two places")
    down = np.array([-across[1], across[0]]) / distance
    mouth = (mouth_left + mouth_right) / 2
    below = float((mouth - (left + right) / 2) @ down)
    if below <= 0.1 * distance or float((mouth_right - mouth_left) @ across) <= 0:
        raise ValueError(
            "the mouth does not lie below the eyes: give the points in this order, as one sees an upright face: "
            + ", ".join(NAMES)
        )
    if not -0.5 * distance < float((nose - (left + right) / 2) @ down) < 1.2 * below:
        raise ValueError(f"the nose does not lie between eyes and mouth: give the points as {', '.join(NAMES)}")
