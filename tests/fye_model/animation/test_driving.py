"""Missing frames hold a neighbour's face, and a portrait without a face gets the driver's motion as it is."""

import numpy as np
import pytest

from fye_model.animation.description import Crop
from fye_model.animation.driving import hold_missing, motion_points, reference_in_square
from fye_model.landmarks.boxes import Square, face_square, pixel_boxes, union
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence
from tests.fye_model.animation.tiny import describe_tiny


def _sequence(frames: int, missing: tuple[int, ...] = (), width: int = 640, height: int = 360) -> LandmarkSequence:
    """The mean face, turned a little more in every frame."""
    geometry = FaceGeometry.mean_mesh()
    vertices = np.repeat(geometry.canonical[None], frames, axis=0)
    matrix = np.repeat(np.eye(4)[None], frames, axis=0)
    angle = np.radians(np.linspace(-8, 8, frames))
    matrix[:, 0, 0] = matrix[:, 2, 2] = np.cos(angle)
    matrix[:, 0, 2], matrix[:, 2, 0] = np.sin(angle), -np.sin(angle)
    matrix[:, 2, 3] = -60
    mesh = geometry.project(vertices, matrix, width, height)
    pupils = np.repeat(mesh[:, [159, 386]].mean(axis=1, keepdims=True), 10, axis=1)
    xy = np.concatenate([mesh, pupils], axis=1) / (width, height)
    depth = np.zeros((frames, 478, 1))
    points = np.concatenate([xy, depth], axis=-1).astype(np.float32)
    valid = np.ones(frames, bool)
    valid[list(missing)] = False
    points[~valid] = np.nan
    none = np.zeros(frames, bool)
    return LandmarkSequence(points, None, None, valid, none, np.arange(frames) / 25, 25.0, width, height, "test")


def test_missing_frames_hold_the_last_face_and_the_first_one_at_the_start() -> None:
    points = np.arange(6.0)[:, None, None] * np.ones((6, 3, 2))
    points[[0, 1, 3, 4]] = np.nan
    filled, missing = hold_missing(points)
    assert filled[:, 0, 0].tolist() == [2, 2, 2, 2, 2, 5]
    assert missing.tolist() == [True, True, False, True, True, False]


def test_without_a_reference_the_drivers_face_fills_the_square_and_is_not_stretched() -> None:
    driver = _sequence(5)
    motion = motion_points(driver, None, FaceGeometry.mean_mesh(), describe_tiny(size=128), "none")
    assert not motion.aligned and motion.points.shape == (5, 478, 2)
    assert motion.points.min() > 0 and motion.points.max() < 128
    mesh = driver.pixels()[:, :468]
    ratio = np.ptp(mesh[2], axis=0) / np.ptp(motion.points[2, :468], axis=0)
    assert ratio[0] == pytest.approx(ratio[1], rel=0.05)


def test_without_a_reference_the_square_is_the_one_that_a_training_clip_would_have_had() -> None:
    driver = _sequence(5)
    for margin in (0.1, 0.3):
        crop = Crop(margin=margin, faces=None)
        motion = motion_points(driver, None, FaceGeometry.mean_mesh(), describe_tiny(size=128, crop=crop), "none")
        square = face_square(union(pixel_boxes(driver.pixels())), driver.width, driver.height, margin)
        np.testing.assert_allclose(motion.points, square.to_square(driver.pixels(), 128), atol=0.5)


def test_with_a_reference_the_motion_lies_on_its_face_whatever_the_drivers_frame() -> None:
    reference = _sequence(1, width=128, height=128)
    motion = motion_points(
        _sequence(6, missing=(0, 3)), reference, FaceGeometry.mean_mesh(), describe_tiny(size=128), "one_euro"
    )
    assert motion.aligned and np.isfinite(motion.points).all() and motion.held.tolist() == [1, 0, 0, 1, 0, 0]
    centre = motion.points[:, :468].mean(axis=(0, 1))
    np.testing.assert_allclose(centre, reference.pixels()[0, :468].mean(axis=0), atol=6)


def test_plain_landmarks_know_no_other_face_and_are_drawn_as_they_are() -> None:
    reference, plain = _sequence(1, width=128, height=128), describe_tiny(size=128, landmark_variant="plain_2d")
    motion = motion_points(_sequence(5), reference, FaceGeometry.mean_mesh(), plain, "none")
    alone = motion_points(_sequence(5), None, FaceGeometry.mean_mesh(), plain, "none")
    assert not motion.aligned and np.array_equal(motion.points, alone.points)


def test_a_face_found_in_the_picture_lies_at_the_same_place_in_its_square() -> None:
    face = _sequence(1)
    square = Square(200, 40, 250)
    inside = reference_in_square(face, square, 100)
    np.testing.assert_allclose(inside.pixels(), square.to_square(face.pixels(), 100), atol=1e-3)
    assert inside.width == inside.height == 100


def test_a_driver_without_frames_or_without_a_face_is_refused() -> None:
    geometry = FaceGeometry.mean_mesh()
    with pytest.raises(ValueError, match="driver is empty"):
        motion_points(_sequence(0), None, geometry, describe_tiny(), "none")
    with pytest.raises(ValueError, match="none of the driver's 3 frames"):
        motion_points(_sequence(3, missing=(0, 1, 2)), None, geometry, describe_tiny(), "none")
