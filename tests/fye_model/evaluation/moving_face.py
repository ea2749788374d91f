"""A face made of the mean mesh whose mouth, eyes, gaze and head move as told: landmarks that are known to the digit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fye_model.evaluation.faces import Detection, FaceTrack
from fye_model.evaluation.signals import _LEFT_LIDS, _RIGHT_LIDS
from fye_model.landmarks.geometry import FaceGeometry

GEOMETRY = FaceGeometry.mean_mesh()
_DISTANCE_CM = 45.0
_LOWER_LIP = (14, 87, 178, 317, 402, 17, 84, 314)


def face(
    mouth: float = 0.0, closed: float = 0.0, gaze: float = 0.0, yaw_deg: float = 0.0, shift: float = 0.0
) -> np.ndarray:
    """Landmarks (478, 3) as fractions of a square picture.

    mouth: centimetres that the lower lip falls; closed: 0 for open eyes to 1 for shut ones; gaze: pupils to the
    subject's left, as a fraction of half an eye; yaw_deg: the head's turn; shift: of the picture, sideways.
    """
    vertices = GEOMETRY.canonical.copy()
    vertices[list(_LOWER_LIP), 1] -= mouth
    for upper, lower in (*_RIGHT_LIDS, *_LEFT_LIDS):
        vertices[upper] += closed * (vertices[lower] - vertices[upper])
    eyes = [
        (vertices[a] + vertices[b]) / 2 + gaze * (vertices[b] - vertices[a]) / 2 for a, b in ((33, 133), (362, 263))
    ]
    everything = np.concatenate([vertices, np.repeat(eyes[:1], 5, axis=0), np.repeat(eyes[1:], 5, axis=0)])
    turn, sine = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    matrix = np.array([[turn, 0, sine, 0], [0, 1, 0, 0], [-sine, 0, turn, -_DISTANCE_CM], [0, 0, 0, 1.0]])
    xy = GEOMETRY.project(everything[None], matrix[None], 1, 1)[0]
    depth = -(everything @ matrix[2, :3] + matrix[2, 3])
    z = (depth / depth.mean() - 1) / (2 * np.tan(np.radians(63 / 2)))
    return np.column_stack([xy[:, 0] + shift, xy[:, 1], z])


def track(points: Sequence[np.ndarray | None], size: int = 64) -> FaceTrack:
    """A track of given landmarks, None where no face was found; without blendshapes."""
    found = [None if one is None else Detection(one) for one in points]
    return FaceTrack.of(found, size, size, GEOMETRY, blendshapes=False)
