"""The mesh warp moves what lies at the landmarks, leaves the rest, and stays whole when triangles turn over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fye_model.animation.mesh_warp import mesh_warp, relative_points
from fye_model.landmarks.table import LandmarkSequence
from tests.fye_model.evaluation.moving_face import face

SIZE = 64


def _picture() -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0, 255, (SIZE, SIZE, 3))
    smooth = gaussian_filter(noise, (4, 4, 0))
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def _grid() -> np.ndarray:
    """Landmarks on a grid in the middle of the picture, a little off it so that no triangle is ambiguous."""
    axis = np.linspace(20, 44, 7)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return points + np.random.default_rng(1).uniform(-0.5, 0.5, points.shape)


def _sequence(mouths: list[float], missing: tuple[int, ...] = (), size: int = SIZE) -> LandmarkSequence:
    points = np.stack([face(mouth) for mouth in mouths]).astype(np.float32)
    valid = np.ones(len(mouths), bool)
    valid[list(missing)] = False
    points[~valid] = np.nan
    none = np.zeros(len(mouths), bool)
    return LandmarkSequence(points, None, None, valid, none, np.arange(len(mouths)) / 25, 25.0, size, size, "test")


def test_landmarks_that_do_not_move_leave_the_picture_as_it_is() -> None:
    picture, points = _picture(), _grid()
    (frame,) = mesh_warp(picture, points, points[None])
    assert frame.dtype == np.uint8 and np.array_equal(frame, picture)


def test_what_lies_between_the_landmarks_moves_with_them_and_the_border_stays() -> None:
    picture, points = _picture(), _grid()
    (frame,) = mesh_warp(picture, points, points[None] + (3, -2))
    inside = (slice(24, 38), slice(28, 42))
    was = picture[24 + 2 : 38 + 2, 28 - 3 : 42 - 3]
    assert np.abs(frame[inside].astype(int) - was).max() <= 2
    for side in (np.s_[0, :], np.s_[-1, :], np.s_[:, 0], np.s_[:, -1]):
        assert np.abs(frame[side].astype(int) - picture[side]).mean() < 3


def test_a_face_that_is_folded_over_or_leaves_the_picture_still_gives_a_whole_frame() -> None:
    picture, points = _picture(), _grid()
    folded = points.copy()
    folded[:, 0] = 32 + np.abs(points[:, 0] - 32)
    flat, outside = points.copy(), points + np.array([60, 0])
    flat[:, 1] = 30
    for target in (folded, flat, outside):
        (frame,) = mesh_warp(picture, points, target[None])
        assert frame.shape == picture.shape and frame.std() > 10
    with pytest.raises(ValueError, match="some are missing"):
        next(mesh_warp(picture, points, np.full((1, *points.shape), np.nan)))


def test_a_driver_that_starts_as_the_reference_gives_its_own_landmarks() -> None:
    driver = _sequence([0.2, 0.8, 1.5])
    moved = relative_points(driver, driver.select(slice(0, 1)))
    np.testing.assert_allclose(moved, driver.pixels(), atol=1e-4)


def test_motion_is_scaled_to_the_reference_and_missing_frames_hold() -> None:
    driver, reference = _sequence([0.2, 0.8, 1.5, 0.1], missing=(0, 2)), _sequence([0.5], size=2 * SIZE)
    moved = relative_points(driver, reference)
    np.testing.assert_allclose(moved[0], reference.pixels()[0], atol=1e-4)
    np.testing.assert_allclose(moved[2], moved[1])
    change = driver.pixels()[3] - driver.pixels()[1]
    np.testing.assert_allclose(moved[3] - moved[1], 2 * change, atol=1e-3)


def test_who_has_no_face_is_refused() -> None:
    driver = _sequence([0.2, 0.3])
    with pytest.raises(ValueError, match="one frame with a face"):
        relative_points(driver, replace(driver.select(slice(0, 1)), valid=np.zeros(1, bool)))
    with pytest.raises(ValueError, match="none of the driver's 2 frames"):
        relative_points(_sequence([0.2, 0.3], missing=(0, 1)), driver.select(slice(0, 1)))
