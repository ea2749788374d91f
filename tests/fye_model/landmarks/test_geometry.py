"""Pose and metric faces: MediaPipe's own matrices, known synthetic poses, missing frames, broken bundles."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fye_model.landmarks import protobuf, topology
from fye_model.landmarks.geometry import FaceGeometry, euler_deg, rotation_difference_deg, weighted_procrustes


def test_matrices_are_mediapipes(detected, geometry) -> None:
    """Rotation to 1e-5; translation to 1e-5 of the distance (both sides compute in single precision)."""
    for name, sequence in detected.items():
        _, matrix = geometry.estimate(sequence.points, sequence.width, sequence.height)
        error = np.abs(matrix - sequence.matrix)
        assert error[:, :3, :3].max() < 1e-5, name
        assert (error[:, :3, 3].max(axis=1) < 1e-5 * np.abs(sequence.matrix[:, 2, 3])).all(), name


@pytest.mark.parametrize("prefix", ["driver", "reference/s9.jpg", "reference/s7.jpg", "reference/s6.jpg"])
def test_the_releases_matrices_and_metric_faces_come_out(official, geometry, prefix: str) -> None:
    points = official[f"{prefix}/lmks"].reshape(-1, 478, 3)
    vertices, matrix = geometry.estimate(points, 512, 512)
    expected = official[f"{prefix}/trans_mat"].reshape(-1, 4, 4)
    np.testing.assert_allclose(matrix[:, :3, :3], expected[:, :3, :3], atol=1e-5)
    np.testing.assert_allclose(matrix[:, :3, 3], expected[:, :3, 3], atol=1e-5 * np.abs(expected[:, 2, 3]).max())
    np.testing.assert_allclose(vertices, official[f"{prefix}/lmks3d"].reshape(-1, 468, 3), atol=1e-4)


def test_the_metric_face_projects_onto_the_detected_landmarks(detected, geometry) -> None:
    for name, sequence in detected.items():
        for face in (geometry, FaceGeometry.mean_mesh()):
            vertices, matrix = face.estimate(sequence.points, sequence.width, sequence.height)
            projected = face.project(vertices, matrix, sequence.width, sequence.height)
            raw = sequence.pixels()
            error = np.linalg.norm(projected - raw[:, :468], axis=2) / topology.interocular_distance(raw)[:, None]
            assert error.max() < 1e-6, name


def test_the_canonical_face_lies_near_the_detected_landmarks(detected, geometry) -> None:
    """Somebody else's face under the found pose: eye corners agree to a tenth of the interocular distance."""
    corners = list(topology.EYE_CORNERS)
    for name, sequence in detected.items():
        _, matrix = geometry.estimate(sequence.points, sequence.width, sequence.height)
        canonical = np.repeat(geometry.canonical[None], len(matrix), axis=0)
        projected = geometry.project(canonical, matrix, sequence.width, sequence.height)
        raw = sequence.pixels()
        error = np.linalg.norm(projected[:, corners] - raw[:, corners], axis=2)
        assert np.median(error / topology.interocular_distance(raw)[:, None]) < 0.1, name


@pytest.mark.parametrize(("width", "height"), [(512, 512), (720, 1280), (1280, 720)])
def test_a_known_pose_is_found(width: int, height: int, synthetic) -> None:
    face = FaceGeometry.mean_mesh()
    angles = [(0, 0, 0), (15, 0, 0), (0, 35, 0), (0, 0, -20), (-10, -30, 10)]
    poses = np.stack([synthetic.pose(*angle, at_cm=(2, -3, -45)) for angle in angles])
    points = synthetic.landmarks_of(np.repeat(face.canonical[None], 5, axis=0), poses, width, height)
    vertices, matrix = face.estimate(points, width, height)
    # One correction for perspective is not quite all of it: the method's own error, a tenth of a degree.
    assert rotation_difference_deg(matrix, poses).max() < 0.3
    np.testing.assert_allclose(matrix[:, :3, 3], poses[:, :3, 3], atol=0.5)
    np.testing.assert_allclose(vertices, np.repeat(face.canonical[None], 5, axis=0), atol=0.1)


def test_euler_angles_are_those_that_made_the_pose_and_ignore_scale(synthetic) -> None:
    angles = np.array([(10, 0, 0), (0, 40, 0), (0, 0, -70), (-20, 30, 50), (5, -60, 3)])
    matrix = np.stack([synthetic.pose(*angle) for angle in angles])
    matrix[:, :3, :3] *= 1.7
    np.testing.assert_allclose(euler_deg(matrix), angles, atol=1e-9)


def test_angles_have_the_documented_signs(synthetic) -> None:
    """Down, to the image's right, counter-clockwise: where nose tip and left eye go in the picture."""
    face = FaceGeometry.mean_mesh().canonical
    pitch, yaw, roll = (FaceGeometry.project(face[None], synthetic.pose(*a)[None], 512, 512)[0] for a in np.eye(3) * 20)
    front = FaceGeometry.project(face[None], synthetic.pose()[None], 512, 512)[0]
    assert pitch[4, 1] > front[4, 1] + 10
    assert yaw[4, 0] > front[4, 0] + 10
    assert roll[263, 1] < front[263, 1] - 10  # the subject's left eye, on the image's right, rises


def test_rotation_difference_is_the_angle_between(synthetic) -> None:
    a, b = synthetic.pose(yaw_deg=10)[None] * 1.3, synthetic.pose(yaw_deg=10.001)[None]
    np.testing.assert_allclose(rotation_difference_deg(a, b), [0.001], rtol=1e-3)
    np.testing.assert_allclose(
        rotation_difference_deg(synthetic.pose()[None], synthetic.pose(roll_deg=180)[None]), [180], atol=1e-4
    )


def test_frames_without_landmarks_give_nan_and_do_not_touch_the_others(turning) -> None:
    face = FaceGeometry.mean_mesh()
    points = turning.points.copy()
    vertices, matrix = face.estimate(points, 512, 512)
    points[5, 11] = np.nan
    some_vertices, some_matrix = face.estimate(points, 512, 512)
    assert np.isnan(some_vertices[5]).all() and np.isnan(some_matrix[5]).all()
    others = np.arange(9) != 5
    np.testing.assert_array_equal(some_vertices[others], vertices[others])
    np.testing.assert_array_equal(some_matrix[others], matrix[others])
    assert np.isnan(face.estimate(np.full((2, 478, 3), np.nan), 64, 64)[1]).all()


def test_irises_play_no_part_in_the_pose(turning) -> None:
    face = FaceGeometry.mean_mesh()
    moved = turning.points.copy()
    moved[:, 468:] += 0.1
    np.testing.assert_array_equal(face.estimate(moved, 512, 512)[1], face.estimate(turning.points, 512, 512)[1])


def test_procrustes_finds_a_rotation_even_for_mirrored_points(synthetic) -> None:
    random = np.random.default_rng(0)
    source = random.normal(size=(20, 3))
    rotation, scale, translation = weighted_procrustes(source, source[None] * [-1, 1, 1], np.ones(20))
    assert np.linalg.det(rotation[0]) == pytest.approx(1)
    turned = 2.5 * source @ synthetic.pose(10, 20, 30)[:3, :3].T + [1, 2, 3]
    rotation, scale, translation = weighted_procrustes(source, turned[None], random.uniform(1, 2, 20))
    np.testing.assert_allclose(rotation[0], synthetic.pose(10, 20, 30)[:3, :3], atol=1e-12)
    np.testing.assert_allclose((scale[0], *translation[0]), (2.5, 1, 2, 3), atol=1e-12)


def test_the_bundle_gives_the_33_basis_points(geometry) -> None:
    assert geometry.canonical.shape == (468, 3) and len(geometry.basis) == 33
    assert {4, 33, 263, 133, 362} <= set(geometry.basis.tolist())
    assert topology.interocular_distance(geometry.canonical) == pytest.approx(8.89, abs=0.01)


def test_bundles_that_will_not_do_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a readable"):
        FaceGeometry.from_task(tmp_path / "absent.task")
    (tmp_path / "text.task").write_text("no zip")
    with pytest.raises(ValueError, match="not a readable"):
        FaceGeometry.from_task(tmp_path / "text.task")
    with zipfile.ZipFile(tmp_path / "bare.task", "w") as bundle:
        bundle.writestr("face_landmarks_detector.tflite", b"")
    with pytest.raises(ValueError, match="mean_mesh"):
        FaceGeometry.from_task(tmp_path / "bare.task")


def test_wire_format() -> None:
    # 1: 150 (varint); 2: "ab"; 3: 1.5f; 3: -2.0f; 4: 0.25 (double)
    data = bytes.fromhex("089601120261621d0000c03f1d000000c021000000000000d03f")
    assert protobuf.read_message(data) == {1: [150], 2: [b"ab"], 3: [1.5, -2.0], 4: [0.25]}
    for broken in (data[:-3], b"\x12\x05ab", b"\x80", b"\x0b"):
        with pytest.raises(ValueError, match="protocol buffer"):
            protobuf.read_message(broken)


def test_pose_needs_no_mediapipe() -> None:
    code = "import sys; import fye_model.landmarks.alignment; print('mediapipe' in sys.modules, 'cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
