"""A cut-out's edge follows the head as a ball behind the face would move: with it, not with the landmarks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fye_model.animation.outline import CENTRE_CM, head_motion, moved_outline, settled
from fye_model.landmarks.geometry import FaceGeometry

SIZE = 200
BALL_CM = 9.0


@pytest.fixture(scope="module")
def geometry() -> FaceGeometry:
    return FaceGeometry.mean_mesh()


def pose(x: float = 0, y: float = 2, z: float = -90, **degrees: float) -> np.ndarray:
    """Canonical to camera: the head's centre at x, y, z centimetres, turned by pitch, yaw and roll about it."""
    angles = [degrees.get(name, 0.0) for name in ("pitch", "yaw", "roll")]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = np.array([x, y, z]) - matrix[:3, :3] @ np.array(CENTRE_CM)
    return matrix


def picture(geometry: FaceGeometry, head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mask (h, w) of a ball with a long ear at its top, and the face's landmarks in pixels."""
    points = np.concatenate([geometry.canonical, np.zeros((10, 3))])
    face = geometry.project(points[None], head[None], SIZE, SIZE)[0]
    centre, rim, ear = (
        geometry.project(np.array(CENTRE_CM)[None, None] + offset, head[None], SIZE, SIZE)[0, 0]
        for offset in ([0, 0, 0], Rotation.from_matrix(head[:3, :3]).inv().apply([BALL_CM, 0, 0]), [0, 13, 0])
    )
    rows, columns = np.mgrid[:SIZE, :SIZE]
    radius = np.hypot(*(rim - centre))
    inside = np.hypot(columns - centre[0], rows - centre[1]) < radius
    inside |= np.hypot(columns - ear[0], rows - ear[1]) < radius / 4
    return (inside * 255).astype(np.uint8), face


@pytest.mark.parametrize(
    "moved",
    [
        pose(x=6, y=8),
        pose(z=-76),
        pose(roll=20),
        pose(yaw=25),
        pose(x=-4, y=6, z=-100, roll=-15, yaw=20),
    ],
    ids=["moved", "nearer", "tilted", "turned", "all"],
)
def test_the_edge_goes_where_the_head_goes(geometry: FaceGeometry, moved: np.ndarray) -> None:
    rest, face = picture(geometry, pose())
    truth, _ = picture(geometry, moved)
    motion = head_motion(pose(), moved[None], face, geometry, SIZE, SIZE)
    found = moved_outline(rest, motion, 0)
    wrong = np.abs(found.astype(float) - truth)
    still = np.abs(rest.astype(float) - truth).mean() / 255
    assert wrong.mean() / 255 < max(0.3 * still, 0.004), "or a turn of the head would carry the edge along"


def test_a_head_at_rest_leaves_everything_and_shoulders_never_move(geometry: FaceGeometry) -> None:
    _, face = picture(geometry, pose())
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
    heads = np.stack([pose(), pose(x=4, roll=20)])
    motion = head_motion(pose(), heads, face, geometry, SIZE, SIZE)
    np.testing.assert_array_equal(moved_outline(noise, motion, 0), noise)
    tilted = moved_outline(noise, motion, 1)
    bottom, middle = int(face[152, 1] + 1.6 * (face[152, 1] - face[10, 1])), slice(SIZE // 2 - 15, SIZE // 2 + 15)
    same = tilted[:, middle] == noise[:, middle]
    assert bottom < SIZE and same[bottom:].all() and not same[:bottom].all()
    again = motion.stretch(slice(1, 2)).shifted(np.array([[5.0, 0.0]]))
    assert again.shift[0] == motion.shift[1] + 5


def test_where_two_masks_differ_the_picture_decides_and_nowhere_else() -> None:
    rows, columns = np.mgrid[:SIZE, :SIZE]

    def disk(middle: float) -> np.ndarray:
        return ((np.hypot(columns - middle, rows - 100) < 50) * 255).astype(np.uint8)

    still, moved, truth = disk(90), disk(120), disk(104) > 0
    frame = np.where(truth[..., None], [150, 90, 70], [240, 236, 230]).astype(np.uint8)
    frame[98:102, 70:74] = frame[98:102, 130:134] = (240, 236, 230)  # light spots within what only one mask has
    frame[:20, :20] = 0  # the model's own speck outside of both
    found = settled(still, moved, frame)
    wrong = [np.abs(alpha / 255 - truth).mean() for alpha in (still, moved, found)]
    assert wrong[2] < 0.15 * min(wrong[:2])
    assert (found <= np.maximum(still, moved)).all() and (found >= np.minimum(still, moved)).all()
    full = np.full_like(still, 255)
    np.testing.assert_array_equal(settled(full, full, frame), full)
