"""A mirrored face: every landmark becomes the one on the other side."""

from __future__ import annotations

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.mirroring import mirror_index, mirrored
from tests.fye_model.landmarks.conftest import SIZE, landmarks_of, pose


def test_the_index_undoes_itself_and_exchanges_the_parts() -> None:
    index = mirror_index()
    assert (index[index] == np.arange(topology.POINTS)).all()
    assert index[topology.RIGHT_PUPIL] == topology.LEFT_PUPIL
    for right, left in ((topology.RIGHT_EYE, topology.LEFT_EYE), (topology.RIGHT_IRIS, topology.LEFT_IRIS)):
        assert set(index[list(right)]) == set(left)
    for whole in (topology.INNER_LIPS, topology.FACE_OVAL):
        assert set(index[list(whole)]) == set(whole)


def test_a_face_turned_left_becomes_one_turned_right() -> None:
    vertices = np.tile(FaceGeometry.mean_mesh().canonical, (1, 1, 1))
    left, right = (
        landmarks_of(vertices, pose(5, yaw, roll, (side, 1, -40))[None], SIZE, SIZE)
        for yaw, roll, side in ((25, 8, 3), (-25, -8, -3))
    )
    np.testing.assert_allclose(mirrored(left)[:, :468], right[:, :468], atol=1e-9)
    centres = list(topology.PUPILS)
    np.testing.assert_allclose(mirrored(left)[:, centres], right[:, centres], atol=1e-9)


def test_a_closed_right_eye_becomes_a_closed_left_one() -> None:
    points = np.random.default_rng(0).random((2, topology.POINTS, 3))
    upper, lower, *_ = topology.RIGHT_EYE_OPENING
    points[:, upper] = points[:, lower]
    other = mirrored(points)
    upper, lower, *_ = topology.LEFT_EYE_OPENING
    np.testing.assert_array_equal(other[:, upper], other[:, lower])
    np.testing.assert_array_equal(mirrored(other), points)
