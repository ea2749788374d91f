"""The head's scores on faces whose motion is known to the digit."""

from __future__ import annotations

import numpy as np
import pytest

from fye_model.landmarks.geometry import FaceGeometry
from tasks.faces.scores import HeadScores, head_scores
from tests.fye_model.landmarks.conftest import landmarks_of, pose, sequence_of

GEOMETRY = FaceGeometry.mean_mesh()
FPS, SECONDS = 25, 4


def scores(poses: np.ndarray, shift: np.ndarray | None = None, faces: np.ndarray | None = None) -> HeadScores:
    points = landmarks_of(np.repeat(GEOMETRY.canonical[None], len(poses), axis=0), poses, 512, 512)
    if shift is not None:
        points[..., 0] += shift[:, None]
    matrix = GEOMETRY.estimate(points, 512, 512)[1].astype(np.float32)
    count = np.ones(len(poses), int) if faces is None else faces
    return head_scores(sequence_of(points, matrix=matrix), count)


def still(frames: int = SECONDS * FPS) -> np.ndarray:
    return np.repeat(pose()[None], frames, axis=0)


def test_a_still_frontal_face_is_whole_and_alone() -> None:
    found = scores(still())
    assert (found.seconds, found.not_alone) == (SECONDS, 0)
    assert found.movement_max == 0 and found.turn_max_deg == pytest.approx(0, abs=1e-3)
    assert found.off_axis_max_deg < 0.5 and found.inside_min == 1.0
    assert 0.05 < found.face_area_min == found.face_area_mean < 0.5


def test_movement_is_from_second_to_second_and_of_both_coordinates() -> None:
    second = np.arange(SECONDS * FPS) // FPS
    moved = scores(still(), shift=np.where(second == 2, 0.1, 0.0))
    assert moved.movement_max == pytest.approx(0.05, abs=1e-4)  # x moves by 0.1, y by nothing
    assert moved.movement_mean == pytest.approx(0.1 / 3, abs=1e-4)  # there, and back
    jitter = scores(still(), shift=np.where(np.arange(SECONDS * FPS) % FPS == 7, 0.2, 0.0))
    assert jitter.movement_max == 0, "between the seconds nothing is looked at"


def test_turns_and_the_angle_away_from_the_camera_are_in_degrees() -> None:
    turning = scores(np.stack([pose(yaw_deg=20.0 * (frame // FPS)) for frame in range(SECONDS * FPS)]))
    assert turning.turn_mean_deg == pytest.approx(20, abs=0.5) and turning.turn_max_deg == pytest.approx(20, abs=0.5)
    assert turning.off_axis_mean_deg == pytest.approx(30, abs=0.5)
    assert turning.off_axis_max_deg == pytest.approx(60, abs=0.5)


def test_a_face_that_leaves_the_picture_loses_its_parts_by_weight() -> None:
    gone = scores(still(), shift=np.where(np.arange(SECONDS * FPS) >= 2 * FPS, 0.55, 0.0))
    assert gone.inside_min == pytest.approx(0.3), "one eye and one corner of the mouth are left"
    assert gone.inside_mean == pytest.approx(0.65)


def test_seconds_with_two_faces_or_none_are_counted() -> None:
    faces = np.ones(SECONDS * FPS, int)
    faces[: FPS + 1], faces[2 * FPS], faces[2 * FPS + 5] = 2, 0, 3
    assert scores(still(), faces=faces).not_alone == 3


def test_short_clips_and_clips_that_begin_without_a_face_are_measured_where_there_is_one() -> None:
    poses = still(20)
    points = landmarks_of(np.repeat(GEOMETRY.canonical[None], 20, axis=0), poses, 512, 512)
    matrix = GEOMETRY.estimate(points, 512, 512)[1].astype(np.float32)
    points[:5], matrix[:5] = np.nan, np.nan
    found = head_scores(sequence_of(points, matrix=matrix), np.where(np.arange(20) < 5, 0, 1))
    assert (found.seconds, found.not_alone, found.inside_min, found.movement_max) == (1, 1, 1.0, 0.0)
