"""Motion on another face: the release's points, what carries over and what does not, neutral frames, missing frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fye_model.landmarks import topology
from fye_model.landmarks.alignment import align_motion, expression_score, neutral_frame
from fye_model.landmarks.geometry import FaceGeometry, euler_deg

PORTRAITS = ("s9.jpg", "s7.jpg", "s6.jpg")


@pytest.fixture(scope="module")
def face() -> FaceGeometry:
    return FaceGeometry.mean_mesh()


@pytest.fixture(scope="module")
def other(face, synthetic):
    """Another person: wider, nearer, in a landscape picture; one frame."""
    wide = face.canonical[None] * (1.15, 0.95, 1.0)
    pose = synthetic.pose(yaw_deg=5, at_cm=(4, 1, -30))[None]
    return synthetic.sequence_of(synthetic.landmarks_of(wide, pose, 800, 600), 800, 600)


@pytest.mark.parametrize("name", PORTRAITS)
def test_the_releases_points_come_out(official, official_sequence, geometry, name: str) -> None:
    driver, reference = official_sequence("driver"), official_sequence(f"reference/{name}")
    expected = official[f"aligned/{name}/points"]
    exact = align_motion(driver, reference, geometry, release_exact=True)
    np.testing.assert_allclose(exact, expected, atol=1e-3)
    # Ours uses the camera's true focal length: a difference of 1e-4 of the distance from the image's middle.
    ours = align_motion(driver, reference, geometry)
    assert 1e-3 < np.abs(ours - expected).max() < 0.03


def test_a_face_aligned_to_itself_stays(turning, face) -> None:
    aligned = align_motion(turning, turning.select(slice(0, 1)), face)
    np.testing.assert_allclose(aligned, turning.pixels(), atol=0.05)


def test_pose_and_expression_are_the_drivers_shape_is_the_references(face, synthetic, other) -> None:
    faces = np.repeat(face.canonical[None], 4, axis=0)
    faces[2, [14, 87, 317]] += (0, -1.0, 0)  # a centimetre of open mouth
    poses = np.stack(
        [synthetic.pose(yaw_deg=5, pitch_deg=p, at_cm=(x, 0, -40)) for p, x in ((0, 0), (10, 0), (0, 0), (0, 2))]
    )
    driver = synthetic.sequence_of(synthetic.landmarks_of(faces, poses, 512, 512))
    blendshapes = np.zeros((4, 52), np.float32)
    blendshapes[2, 25] = 1
    driver = replace(driver, blendshapes=blendshapes)
    aligned = align_motion(driver, other, face)
    result = synthetic.sequence_of(np.dstack([aligned / (800, 600), np.zeros((4, 478, 1))]), 800, 600)

    start = other.pixels()[0]
    # The driver's neutral frame, in the reference's own pose (found to a fraction of a degree: it is another shape).
    np.testing.assert_allclose(aligned[0], start, atol=2.5)
    opening = aligned[:, 14, 1] - aligned[:, 13, 1]
    focal = 600 / 2 / np.tan(np.radians(31.5))
    at_lip, at_nose = (focal / (30 - face.canonical[index, 2]) for index in (14, 4))  # pixels a centimetre
    np.testing.assert_allclose(opening[2] - opening[0], at_lip, rtol=0.1)
    assert abs(opening[3] - opening[0]) < 0.05 * at_lip
    np.testing.assert_allclose(aligned[3, 4, 0] - aligned[0, 4, 0], 2 * at_nose, rtol=0.1)
    assert aligned[1, 4, 1] - aligned[0, 4, 1] > 10  # looking down
    width = np.ptp(result.pixels()[:, :468, 0], axis=1)
    np.testing.assert_allclose(width[2:], np.ptp(start[:468, 0]), rtol=0.02)


def test_rotation_is_absolute(face, synthetic, other) -> None:
    """The reference's own turn plays no part: the release's rule."""
    poses = np.stack([synthetic.pose(yaw_deg=25), synthetic.pose(yaw_deg=-10)])
    driver = synthetic.sequence_of(synthetic.landmarks_of(np.repeat(face.canonical[None], 2, 0), poses, 512, 512))
    aligned = align_motion(driver, other, face)
    eyes = aligned[:, list(topology.EYE_CORNERS)].mean(axis=1)
    nose_side = aligned[:, 4, 0] - eyes[:, 0]
    assert nose_side[0] > 10 and nose_side[1] < -4


def test_missing_frames_stay_missing_and_the_first_valid_one_anchors(turning, face, other) -> None:
    whole = align_motion(turning.select(slice(1, 9)), other, face)
    points = turning.points.copy()
    points[[0, 4]] = np.nan
    valid = np.isfinite(points).all(axis=(1, 2))
    with_holes = align_motion(replace(turning, points=points, valid=valid), other, face)
    assert len(with_holes) == 9
    assert np.isnan(with_holes[[0, 4]]).all()
    keep = [1, 2, 3, 5, 6, 7, 8]
    assert np.isfinite(with_holes[keep]).all()
    # The neutral frame may differ between the two; rigid motion does not depend on it beyond the method's error.
    np.testing.assert_allclose(with_holes[keep], whole[[frame - 1 for frame in keep]], atol=1.0)


def test_depth_can_follow_the_drivers_ratio(face, synthetic) -> None:
    poses = np.stack([synthetic.pose(at_cm=(0, 0, z)) for z in (-60, -30)])
    driver = synthetic.sequence_of(synthetic.landmarks_of(np.repeat(face.canonical[None], 2, 0), poses, 512, 512))
    near = synthetic.landmarks_of(face.canonical[None], synthetic.pose(at_cm=(0, 0, -35))[None], 512, 512)
    reference = synthetic.sequence_of(near)
    with pytest.raises(ValueError, match="relative_depth"):
        align_motion(driver, reference, face)
    aligned = align_motion(driver, reference, face, relative_depth=True)
    width = np.linalg.norm(aligned[:, 33] - aligned[:, 263], axis=1)
    eyes = face.canonical[[33, 263], 2].mean()
    assert width[1] / width[0] == pytest.approx((35 - eyes) / (35 / 2 - eyes), rel=0.05)


def test_the_neutral_frame_has_the_smallest_blendshape_sum_without_neutral(turning) -> None:
    blendshapes = np.full((9, 52), 0.5, np.float32)
    blendshapes[3, 1:] = 0.1
    blendshapes[3, 0] = 40.0  # MediaPipe's own neutral score does not count
    blendshapes[6, 1:] = 0.05  # interpolated: only when there is nothing else
    interpolated = np.arange(9) == 6
    sequence = replace(turning, blendshapes=blendshapes, interpolated=interpolated)
    vertices = np.zeros((9, 468, 3))
    assert neutral_frame(sequence, vertices) == 3
    assert neutral_frame(replace(sequence, interpolated=np.ones(9, bool)), vertices) == 6
    assert neutral_frame(replace(sequence, valid=np.arange(9) == 1), vertices) == 1


def test_without_blendshapes_geometry_finds_a_relaxed_frame(detected, geometry) -> None:
    for name, sequence in detected.items():
        vertices, _ = geometry.estimate(sequence.points, sequence.width, sequence.height)
        chosen = neutral_frame(replace(sequence, blendshapes=None), vertices)
        sums = sequence.blendshapes[:, 1:].sum(axis=1)
        assert (sums < sums[chosen]).mean() <= 0.25, name


def test_open_mouths_closed_eyes_and_averted_gaze_count_as_expression(turning, face) -> None:
    vertices = np.repeat(face.canonical[None], 9, axis=0)
    points = np.repeat(turning.points[4:5], 9, axis=0)
    vertices[1, 14, 1] -= 1.5
    for upper, lower in ((159, 145), (386, 374)):
        vertices[3, upper] = vertices[3, lower]
    points[5, 468:, 0] += 0.01
    vertices[7][list(topology.BROW_MIDDLES), 1] += 0.8
    score = expression_score(replace(turning, points=points), vertices, np.ones(9, bool))
    assert (score[[1, 3, 5, 7]] > score[[0, 2, 4, 6, 8]].max() + 0.02).all()


def test_aligned_pose_is_the_drivers_on_real_clips(detected, geometry) -> None:
    """Checked on the roll of the line between the outer eye corners, in the picture."""
    driver, reference = detected["d13"], detected["d0"].select(slice(0, 1))
    aligned = align_motion(driver, reference, geometry)
    line = aligned[:, 263] - aligned[:, 33]
    roll = np.degrees(np.arctan2(-line[:, 1], line[:, 0]))
    assert np.abs(roll - euler_deg(driver.matrix)[:, 2]).max() < 6.0


def test_what_cannot_be_aligned_is_explained(turning, face) -> None:
    nobody = replace(turning, valid=np.zeros(9, bool), points=np.full_like(turning.points, np.nan))
    with pytest.raises(ValueError, match="reference must be one frame"):
        align_motion(turning, turning, face)
    with pytest.raises(ValueError, match="0 with a face"):
        align_motion(turning, nobody.select(slice(0, 1)), face)
    with pytest.raises(ValueError, match="no frame of the driver"):
        align_motion(nobody, turning.select(slice(0, 1)), face)
    with pytest.raises(ValueError, match="one model"):
        align_motion(turning, replace(turning.select(slice(0, 1)), model="other"), face)
