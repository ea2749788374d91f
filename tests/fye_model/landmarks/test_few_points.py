"""Five points that a person gives make a whole face, where they were given and as tilted."""

from __future__ import annotations

import numpy as np
import pytest

from fye_model.landmarks import topology
from fye_model.landmarks.boxes import PixelBox
from fye_model.landmarks.few_points import face_from_box, face_from_points
from fye_model.landmarks.geometry import FaceGeometry, euler_deg

FACE = FaceGeometry.mean_mesh()
CAT = np.array([[116, 117], [195, 117], [155, 148], [138, 175], [172, 175]], float)


def _seen(points: np.ndarray) -> np.ndarray:
    eyes = [points[list(eye), :2].mean(axis=0) for eye in (topology.RIGHT_EYE, topology.LEFT_EYE)]
    return np.array([*eyes, *points[[1, 61, 291], :2]])


def test_eyes_nose_and_mouth_lie_where_they_were_given() -> None:
    face = face_from_points(CAT, FACE)
    assert face.shape == (478, 3)
    np.testing.assert_allclose(_seen(face), CAT, atol=1.5)
    for eye, pupil in ((topology.RIGHT_EYE, 468), (topology.LEFT_EYE, 473)):
        low, high = face[list(eye), :2].min(axis=0), face[list(eye), :2].max(axis=0)
        assert (low <= face[pupil, :2]).all() and (face[pupil, :2] <= high).all()


def test_a_turned_face_is_one_that_the_geometry_sees_as_turned() -> None:
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    face = face_from_points((CAT - 150) @ turn.T + 150, FACE)
    matrix = FACE.estimate(face[None] / (300, 300, 300), 300, 300)[1]
    pitch, yaw, roll = euler_deg(matrix)[0]
    assert roll == pytest.approx(30, abs=3) and abs(yaw) < 8 and abs(pitch) < 35


def test_a_box_is_filled_by_an_upright_face() -> None:
    face = face_from_box(PixelBox(40, 60, 160, 200), FACE)
    np.testing.assert_allclose(face[:468, :2].min(axis=0), (40, 60), atol=4)
    np.testing.assert_allclose(face[:468, :2].max(axis=0), (160, 200), atol=4)
    with pytest.raises(ValueError, match="is empty"):
        face_from_box(PixelBox(40, 60, 40, 200), FACE)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([1, 0, 2, 3, 4], "does not lie below"),
        ([3, 4, 2, 0, 1], "does not lie below"),
        ([0, 0, 2, 3, 4], "0 pixels apart"),
    ],
)
def test_points_in_another_order_are_refused(order: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        face_from_points(CAT[order], FACE)
    with pytest.raises(ValueError, match="expected five points"):
        face_from_points(CAT[:4], FACE)
