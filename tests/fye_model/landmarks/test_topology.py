"""The index tables against MediaPipe's own lists, and against the shape of a face."""

from __future__ import annotations

import numpy as np
import pytest

from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry


def undirected(edges) -> set[frozenset[int]]:
    return {frozenset(edge) for edge in edges}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (topology._ring(topology.RIGHT_EYE), "RIGHT_EYE"),
        (topology._ring(topology.LEFT_EYE), "LEFT_EYE"),
        (topology._ring(topology.FACE_OVAL), "FACE_OVAL"),
        (topology._ring(topology.INNER_LIPS) + topology._ring(topology.OUTER_LIPS), "LIPS"),
        (topology.PARTS[1].edges, "LEFT_EYEBROW"),
        (topology.PARTS[3].edges, "RIGHT_EYEBROW"),
    ],
)
def test_edges_are_mediapipes(ours, theirs: str) -> None:
    landmarker = pytest.importorskip("mediapipe.tasks.python.vision.face_landmarker")
    connections = getattr(landmarker.FaceLandmarksConnections, f"FACE_LANDMARKS_{theirs}")
    assert undirected(ours) == undirected((edge.start, edge.end) for edge in connections)


def test_drawn_lips_are_the_inner_ones() -> None:
    drawn = [edge for part in topology.PARTS if "lip" in part.name for edge in part.edges]
    assert undirected(drawn) == undirected(topology._ring(topology.INNER_LIPS))


def test_parts_have_colours_of_their_own() -> None:
    colours = [part.colour for part in (topology.CONTOUR, *topology.PARTS)] + [topology.PUPIL_COLOUR]
    assert len(set(colours)) == len(colours)


def test_right_is_the_subjects_right() -> None:
    """In the canonical face x grows to the subject's left."""
    canonical = FaceGeometry.mean_mesh().canonical
    assert canonical[list(topology.RIGHT_EYE), 0].max() < 0 < canonical[list(topology.LEFT_EYE), 0].min()


def test_interocular_distance_is_between_the_outer_eye_corners_whatever_the_rest_of_the_face_does() -> None:
    points = np.random.default_rng(0).normal(size=(2, topology.POINTS, 2))
    points[:, topology.OUTER_EYE_CORNERS] = [(1, 1), (4, 5)]
    points[1] *= 2
    np.testing.assert_allclose(topology.interocular_distance(points), [5, 10])
