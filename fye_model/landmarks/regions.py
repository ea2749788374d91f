"""Regions of the face mesh that move apart from each other: the eyes, the brows and the mouth with the jaw."""

from __future__ import annotations

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry

REGIONS = ("right_eye", "left_eye", "brows", "mouth")
_SEEDS = (
    topology.RIGHT_EYE,
    topology.LEFT_EYE,
    topology.RIGHT_BROW + topology.LEFT_BROW,
    topology.INNER_LIPS + topology.OUTER_LIPS,
)

# Points above and below each other on the lids and the inner lips, from one corner to the other.
LIDS = {
    "right_eye": ((246, 7), (161, 163), (160, 144), (159, 145), (158, 153), (157, 154), (173, 155)),
    "left_eye": ((466, 249), (388, 390), (387, 373), (386, 374), (385, 380), (384, 381), (398, 382)),
    "mouth": ((191, 95), (80, 88), (81, 178), (82, 87), (13, 14), (312, 317), (311, 402), (310, 318), (415, 324)),
}
OPENINGS = {
    "right_eye": topology.RIGHT_EYE_OPENING,
    "left_eye": topology.LEFT_EYE_OPENING,
    "mouth": topology.MOUTH_OPENING,
}


def region_of_vertices(geometry: FaceGeometry) -> np.ndarray:
    """For each of the 468 mesh points the number of its region in `REGIONS`: that of the nearest drawn part.

    Only drawn parts are seen, and each of them lies in one region as a whole: brows do not move with the lids.
    """
    canonical = geometry.canonical
    distances = [
        np.linalg.norm(canonical[:, None] - canonical[list(seeds)][None], axis=-1).min(axis=1) for seeds in _SEEDS
    ]
    numbers: np.ndarray = np.argmin(distances, axis=0)
    return numbers


def opening(vertices: np.ndarray, region: str) -> tuple[np.ndarray, np.ndarray]:
    """How far an eye or the mouth is open in the middle, and its width: (f, n, 2 or 3) -> (f,) each, in its unit."""
    upper, lower, corner, other = (vertices[:, index] for index in OPENINGS[region])
    return np.linalg.norm(upper - lower, axis=1), np.linalg.norm(corner - other, axis=1)


def brow_height(vertices: np.ndarray) -> np.ndarray:
    """How high the brows are above the corners of the eyes, in interocular distances: (f, 468, 3), y up -> (f,)."""
    brows, corners = vertices[:, topology.BROW_MIDDLES, 1], vertices[:, topology.EYE_CORNERS, 1]
    height: np.ndarray = (brows.mean(axis=1) - corners.mean(axis=1)) / topology.interocular_distance(vertices)
    return height


def part_crossed(vertices: np.ndarray) -> np.ndarray:
    """Lids and lips that passed each other meet half-way instead: (f, 468, 3) in canonical space, y up."""
    result = vertices.copy()
    for pairs in LIDS.values():
        upper, lower = (np.array(side) for side in zip(*pairs, strict=True))
        crossed = result[:, upper, 1] < result[:, lower, 1]
        middle = (result[:, upper] + result[:, lower]) / 2
        for side in (upper, lower):
            result[:, side] = np.where(crossed[..., None], middle, result[:, side])
    return result
