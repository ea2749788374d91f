"""Our mean face: recovered from synthetic clips, symmetric, small, and near MediaPipe's pose on real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fye_model.landmarks
from fye_model.landmarks import mean_mesh, topology
from fye_model.landmarks.geometry import FaceGeometry, rotation_difference_deg
from fye_model.landmarks.table import write_landmarks

STORED = Path(fye_model.landmarks.__path__[0]) / "mean_mesh.npz"


@pytest.fixture(scope="module")
def clips(synthetic):
    """Three people, each five frames under various poses, differing in width and depth around one mean."""
    mean = FaceGeometry.mean_mesh().canonical
    clips = []
    for index, shape in enumerate([(1.05, 1, 1), (0.95, 1, 1.05), (1, 1, 0.95)]):
        poses = np.stack(
            [
                synthetic.pose(p, y, r, (0, 0, -40))
                for p, y, r in ((0, 0, 0), (8, 20, 0), (0, -25, 5), (-8, 5, -5), (3, -5, 9))
            ]
        )
        faces = np.repeat((mean * shape)[None], 5, axis=0)
        faces[:, [14, 17, 152]] += np.linspace(0, 1, 5)[:, None, None] * (0, -1, 0)  # talking
        clips.append(synthetic.sequence_of(synthetic.landmarks_of(faces, poses, 640, 480), 640, 480, fps=25.0 + index))
    return clips


def test_the_mean_face_is_found_again(clips) -> None:
    found, expected = mean_mesh.compute_mean_mesh(clips).canonical, FaceGeometry.mean_mesh().canonical
    rigid = [i for i in range(468) if i not in (14, 17, 152)]
    aligned = found + (expected - found)[rigid].mean(axis=0)
    assert np.linalg.norm(aligned - expected, axis=1)[rigid].max() < 0.3  # centimetres
    assert _eye_centre_distance(found) == pytest.approx(6.3)


def test_points_that_move_with_expression_weigh_less(clips) -> None:
    weights = mean_mesh.compute_mean_mesh(clips).weights
    assert weights.sum() == pytest.approx(1)
    assert weights[[14, 17, 152]].max() < 0.2 * np.median(weights)


def test_weights_are_inverse_variances_with_a_floor() -> None:
    faces = np.zeros((2, topology.MESH_POINTS, 3))
    faces[:, :100, 1] = [[-1], [1]]  # variance 1; then 0.01; the median is 0.01
    faces[:, 100:, 1] = [[-0.1], [0.1]]
    weights = mean_mesh._stability([faces, faces[:1]], np.arange(topology.MESH_POINTS))
    np.testing.assert_allclose(weights[200] / weights[0], (1 + 0.001) / (0.01 + 0.001))


def test_every_clip_counts_the_same(clips) -> None:
    long = replace(clips[0].select(np.tile(np.arange(5), 20)))
    np.testing.assert_allclose(
        mean_mesh.compute_mean_mesh([long, *clips[1:]]).canonical,
        mean_mesh.compute_mean_mesh(clips).canonical,
        atol=0.05,
    )


def test_missing_frames_and_empty_clips_are_left_out(clips) -> None:
    holes = clips[0].points.copy()
    holes[2] = np.nan
    holed = replace(clips[0], points=holes, valid=np.arange(5) != 2)
    empty = replace(clips[1], points=np.full_like(holes, np.nan), valid=np.zeros(5, bool))
    with_empty = mean_mesh.compute_mean_mesh([holed, empty, clips[2]])
    expected = mean_mesh.compute_mean_mesh([clips[0].select(np.array([0, 1, 3, 4])), clips[2]])
    np.testing.assert_array_equal(with_empty.canonical, expected.canonical)
    with pytest.raises(ValueError, match="no valid frame"):
        mean_mesh.compute_mean_mesh([empty])


def test_the_command_writes_a_file_that_reads_back(clips, tmp_path: Path, capsys) -> None:
    for index, clip in enumerate(clips):
        write_landmarks(clip, tmp_path / f"{index}.parquet")
    inputs = [str(tmp_path / f"{index}.parquet") for index in range(3)]
    mean_mesh.main([*inputs, "--output", str(tmp_path / "mean.npz")])
    assert "mean face of 3 clips" in capsys.readouterr().out
    with np.load(tmp_path / "mean.npz") as stored:
        np.testing.assert_allclose(stored["canonical"], mean_mesh.compute_mean_mesh(clips).canonical, atol=1e-5)
        assert str(stored["source"]) == "3 faces, landmarks of synthetic:1"
    assert len(list(tmp_path.iterdir())) == 4


def test_the_stored_face_keeps_the_conventions_and_is_small() -> None:
    face = FaceGeometry.mean_mesh()
    canonical = face.canonical
    mirror = mean_mesh._mirror_indices(canonical)
    np.testing.assert_allclose(canonical, canonical[mirror] * (-1, 1, 1), atol=1e-5)
    assert (mirror == np.arange(468)).sum() == 28  # the midline
    assert _eye_centre_distance(canonical) == pytest.approx(6.3, abs=1e-4)
    assert canonical[4, 2] == canonical[:, 2].max()  # the nose tip is foremost
    assert (face.weights > 0).all()
    assert STORED.stat().st_size < 20_000


def test_pose_from_the_mean_face_is_near_mediapipes(detected) -> None:
    """Measured over eight clips of up to 216 frames: 1.0 degree in the median, 3.2 at worst."""
    face = FaceGeometry.mean_mesh()
    errors = []
    for sequence in detected.values():
        _, matrix = face.estimate(sequence.points, sequence.width, sequence.height)
        errors.append(rotation_difference_deg(matrix, sequence.matrix))
    assert np.median(np.concatenate(errors)) < 2.0
    assert np.concatenate(errors).max() < 4.0


def _eye_centre_distance(canonical: np.ndarray) -> float:
    """Centimetres between the middles of the two eye contours, by which the mean face has its size."""
    right, left = (canonical[list(eye)].mean(axis=0) for eye in (topology.RIGHT_EYE, topology.LEFT_EYE))
    return float(np.linalg.norm(right - left))
