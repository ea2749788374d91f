"""Irises keep their place in the eye's box, whatever the face they are put on."""

from __future__ import annotations

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.pupils import gaze, place_pupils


def test_irises_on_the_own_mesh_stay_where_they_are(detected) -> None:
    for sequence in detected.values():
        raw = sequence.pixels()
        np.testing.assert_allclose(place_pupils(raw[:, :468], raw), raw, atol=1e-9)


def test_gaze_survives_another_face_size_and_place(turning, detected) -> None:
    source = detected["d0"].pixels()[:9]
    placed = place_pupils(turning.pixels()[:, :468] * 0.3 + (50, -20), source)
    np.testing.assert_allclose(gaze(placed), gaze(source), atol=1e-9)
    assert np.ptp(gaze(source)[..., 0]) > 0.2  # this clip does look around


def test_right_and_left_irises_are_not_confused(turning) -> None:
    source = turning.pixels()
    source[:, topology.RIGHT_IRIS, 0] += 3.0
    moved = place_pupils(turning.pixels()[:, :468], source) - turning.pixels()
    np.testing.assert_allclose(moved[:, topology.RIGHT_IRIS], np.broadcast_to((3.0, 0.0), (9, 5, 2)), atol=1e-9)
    np.testing.assert_allclose(moved[:, topology.LEFT_IRIS], 0, atol=1e-9)


def test_an_eye_seen_edge_on_has_its_iris_in_the_middle(turning) -> None:
    source = turning.pixels()
    source[2, topology.LEFT_EYE, 0] = 100.0
    placed = place_pupils(turning.pixels()[:, :468], source)
    eye = placed[2, list(topology.LEFT_EYE), 0]
    np.testing.assert_allclose(placed[2, topology.LEFT_PUPIL, 0], (eye.min() + eye.max()) / 2)
    assert np.isfinite(placed).all()


def test_frames_without_landmarks_stay_without(turning) -> None:
    source = turning.pixels()
    source[1] = np.nan
    placed = place_pupils(turning.pixels()[:, :468], source)
    assert np.isnan(placed[1, 468:]).all() and np.isfinite(placed[[0, *range(2, 9)]]).all()
