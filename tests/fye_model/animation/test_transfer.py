"""What of a driver is taken over: which parts, how strongly, from which pose, and within which limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fye_model.animation.transfer import Transfer, of_a_still, only, transfer_motion
from fye_model.landmarks import topology
from fye_model.landmarks.alignment import align_motion
from fye_model.landmarks.geometry import FaceGeometry, euler_deg
from fye_model.landmarks.mouths import TrainedMouths, measure_mouths
from fye_model.landmarks.neutral import choose_neutral
from fye_model.landmarks.poses import TrainedPoses, keep_within, measure_poses
from fye_model.landmarks.pupils import gaze
from fye_model.landmarks.regions import LIDS, opening, region_of_vertices
from fye_model.landmarks.table import LandmarkSequence
from tests.fye_model.landmarks.conftest import landmarks_of, pose, sequence_of

FACE = FaceGeometry.mean_mesh()
SIZE = 512
FRAMES = 9


def perform(
    mouth_cm: np.ndarray | float = 0.0,
    lids_cm: np.ndarray | float = 0.0,
    frames: int = FRAMES,
    size: float = 1.0,
    **angles: object,
) -> LandmarkSequence:
    """The mean face with lower lip and upper lids lowered by so much in each frame, under given poses."""
    mesh = FACE.canonical
    # a face that is still flat between the lips and open at the eyes
    faces = np.repeat(mesh[None], frames, axis=0).copy()
    upper, lower = (np.array(side) for side in zip(*LIDS["mouth"], strict=True))
    faces[:, upper] = faces[:, lower] = (faces[:, upper] + faces[:, lower]) / 2
    faces[:, lower, 1] -= np.broadcast_to(mouth_cm, frames)[:, None]
    for eye in ("right_eye", "left_eye"):
        lids = [pair[0] for pair in LIDS[eye]]
        faces[:, lids, 1] -= np.broadcast_to(lids_cm, frames)[:, None]
    turns = {name: np.broadcast_to(value, frames) for name, value in angles.items()}
    poses = np.stack([pose(**{name: float(value[i]) for name, value in turns.items()}) for i in range(frames)])
    return sequence_of(landmarks_of(faces * size, poses, SIZE, SIZE))


def own_pixels(reference: LandmarkSequence) -> np.ndarray:
    return reference.pixels()[0]


def carry(driver: LandmarkSequence, reference: LandmarkSequence, **how: object) -> np.ndarray:
    how.setdefault("limits", False)
    return transfer_motion(driver, reference, FACE, Transfer(**how)).points


def poses_of(points: np.ndarray) -> np.ndarray:
    """Pitch, yaw, roll of drawn points, as somebody measures who sees them alone."""
    eyes = points[:, list(topology.OUTER_EYE_CORNERS)]
    return np.degrees(np.arctan2(*(eyes[:, 1] - eyes[:, 0])[:, ::-1].T))


def test_a_portrait_begins_in_its_own_pose_and_moves_as_the_driver_does() -> None:
    driver = perform(roll_deg=np.linspace(0, 20, FRAMES))
    for tilt in (0.0, 35.0, -90.0):
        reference = perform(frames=1, roll_deg=tilt)
        points = carry(driver, reference)
        np.testing.assert_allclose(points[0], own_pixels(reference), atol=0.3)
        roll = -poses_of(points)  # pixels' y grows downwards
        np.testing.assert_allclose(np.unwrap(roll - roll[0], period=360), np.linspace(0, 20, FRAMES), atol=1)
    snapped = carry(driver, perform(frames=1, roll_deg=35.0), rotation="absolute")
    assert abs(poses_of(snapped)[0]) < 1, "absolute: as the driver holds its head, from the first frame on"


def test_a_nod_is_a_nod_of_a_face_that_looks_aside() -> None:
    driver = perform(pitch_deg=np.linspace(0, 20, FRAMES))
    points = carry(driver, perform(frames=1, yaw_deg=60.0))
    vertices = np.concatenate([points / SIZE, np.zeros((FRAMES, 478, 1))], axis=2)
    assert np.isfinite(vertices).all()
    eyes = points[:, list(topology.OUTER_EYE_CORNERS)].mean(axis=1)
    chin = points[:, 152]
    # the head's own axis of ears points into the picture: the chin swings to one side, the eyes to the other
    swing = (chin - eyes)[-1] - (chin - eyes)[0]
    assert abs(swing[0]) > 30


def test_all_at_once_absolutely_is_what_the_release_does_but_for_depth() -> None:
    driver = perform(mouth_cm=np.linspace(0, 2, FRAMES), yaw_deg=np.linspace(-5, 25, FRAMES))
    reference = perform(frames=1, roll_deg=10.0)
    ours = carry(driver, reference, rotation="absolute", proportions=False, neutral="first")
    np.testing.assert_allclose(ours, align_motion(driver, reference, FACE), atol=1.5)


def test_strengths_of_zero_leave_the_portrait_as_it_is_and_one_region_moves_alone() -> None:
    driver = perform(
        mouth_cm=np.linspace(0, 2, FRAMES), lids_cm=np.linspace(0, 0.5, FRAMES), yaw_deg=np.linspace(0, 20, FRAMES)
    )
    reference = perform(frames=1, yaw_deg=5.0)
    still = carry(driver, reference, **only([]))
    np.testing.assert_allclose(still, np.broadcast_to(own_pixels(reference), still.shape), atol=0.3)
    mouth = carry(driver, reference, **{**only([]), "mouth": 1.0})
    moved = np.abs(mouth - still).max(axis=(0, 2))
    assert moved[14] > 10 and moved[[*topology.RIGHT_EYE, *topology.BROW_MIDDLES]].max() < 0.1
    turning = carry(driver, reference, **only(["pose"]))
    vertical = turning[:, 14, 1] - turning[:, 13, 1]
    np.testing.assert_allclose(vertical, vertical[0], atol=1.0)
    assert np.ptp(turning[:, 1, 0]) > 10
    with pytest.raises(ValueError, match="transfer smile; expected some of expression, pose, gaze"):
        only(["smile"])


def test_twice_the_strength_opens_the_mouth_twice_as_far_and_lids_never_cross() -> None:
    driver = perform(mouth_cm=np.linspace(0, 1, FRAMES), lids_cm=np.linspace(0, 2.0, FRAMES))
    reference = perform(frames=1)
    gaps = [
        (points[:, 14, 1] - points[:, 13, 1])[-1] for points in (carry(driver, reference, mouth=m) for m in (1.0, 2.0))
    ]
    assert gaps[1] == pytest.approx(2 * gaps[0], rel=0.1)
    strong = carry(driver, reference, eyes=2.0)
    for upper, lower in LIDS["right_eye"]:
        assert (strong[:, upper, 1] <= strong[:, lower, 1] + 1e-6).all()


def test_eyes_of_another_size_close() -> None:
    mesh = FACE.canonical
    open_by = opening(mesh[None], "right_eye")[0][0]
    driver = perform(lids_cm=np.concatenate([np.zeros(4), [open_by, open_by], np.zeros(3)]))
    wide = perform(frames=1, lids_cm=-0.4)
    gap = {}
    for proportions in (True, False):
        points = carry(driver, wide, proportions=proportions)
        gap[proportions] = (points[:, 145, 1] - points[:, 159, 1])[[0, 4]]
    assert gap[True][1] < 0.15 * gap[True][0], "closed"
    assert gap[False][1] > 0.2 * gap[False][0], "as far as the driver's lids went"


def test_gaze_lies_between_the_portraits_own_and_the_drivers() -> None:
    driver, reference = perform(), perform(frames=1)
    looking = driver.points.copy()
    looking[:, [*topology.RIGHT_IRIS, *topology.LEFT_IRIS], 0] += np.linspace(0, 6, FRAMES)[:, None] / SIZE
    driver = replace(driver, points=looking)
    own, theirs = gaze(reference.pixels())[0, :, 0], gaze(driver.pixels())[-1, :, 0]
    for strength in (0.0, 0.5, 1.0):
        found = gaze(carry(driver, reference, gaze=strength))[-1, :, 0]
        np.testing.assert_allclose(found, own + strength * (theirs - own), atol=0.02)


def test_the_motion_sets_in_and_returns() -> None:
    driver = perform(mouth_cm=1.0, yaw_deg=np.linspace(10, 20, 26), frames=26)
    reference = perform(frames=1)
    points = carry(driver, reference, ease_s=0.4, rotation="absolute")
    for frame in (0, -1):
        np.testing.assert_allclose(points[frame], own_pixels(reference), atol=0.3)
    steps = np.linalg.norm(np.diff(points[:, 1], axis=0), axis=1)
    assert steps.max() < 3 * np.ptp(points[:, 1, 0]) / 10, "without a jump"


def test_an_absolute_position_is_the_drivers_place_in_its_square() -> None:
    driver = perform()
    shifted = replace(driver, points=driver.points + np.array([0.1, 0, 0], np.float32))
    how = Transfer(position="absolute", limits=False)
    points = transfer_motion(driver, perform(frames=1), FACE, how, driver_in_square=shifted).points
    corners = list(topology.EYE_CORNERS)
    moved = points[:, corners, 0].mean() - perform().pixels()[:, corners, 0].mean()
    assert moved == pytest.approx(0.1 * SIZE, abs=3)
    with pytest.raises(ValueError, match="needs the driver in its square"):
        transfer_motion(driver, perform(frames=1), FACE, how)


def test_the_head_stays_among_the_trained_poses_and_it_is_said() -> None:
    driver, reference = perform(yaw_deg=np.linspace(0, 60, FRAMES)), perform(frames=1)
    poses = TrainedPoses(pitch_deg=(-20, 20), yaw_deg=(-30, 30), roll_deg=(-10, 10), frames=100)
    kept = transfer_motion(driver, reference, FACE, Transfer(), poses)
    (line,) = [note for note in kept.notes if "held back" in note]
    assert line.startswith("yaw held back in") and "60° was wanted" in line and "-30° to 30°" in line
    free = transfer_motion(driver, reference, FACE, Transfer(limits=False), poses)
    assert not any("held back" in note for note in free.notes)
    nose = [points[:, 1, 0] - points[:, [33, 263], 0].mean(axis=1) for points in (kept.points, free.points)]
    assert abs(nose[0][-1]) < 0.75 * abs(nose[1][-1])
    np.testing.assert_allclose(kept.points[:3], free.points[:3], atol=1e-6)


def test_limits_leave_the_portraits_own_pose_alone_and_come_softly() -> None:
    poses = TrainedPoses(pitch_deg=(-20, 20), yaw_deg=(-30, 30), roll_deg=(-10, 10), frames=100)
    wanted = np.zeros((90, 3))
    wanted[:, 1] = np.arange(90)
    kept, lines = keep_within(wanted, np.array([0.0, 45.0, 0.0]), poses)
    np.testing.assert_allclose(kept[:46, 1], wanted[:46, 1])
    assert kept[:, 1].max() <= 45 and len(lines) == 1
    kept, _ = keep_within(wanted, np.zeros(3), poses)
    assert (np.diff(kept[:, 1]) >= 0).all() and kept[:, 1].max() == pytest.approx(30, abs=0.1)
    assert np.abs(np.diff(kept[:, 1], 2)).max() < 0.3
    with pytest.raises(ValueError, match="lower end first"):
        TrainedPoses(pitch_deg=(20, -20), yaw_deg=(0, 0), roll_deg=(0, 0), frames=1)


def test_the_mouth_stays_among_the_trained_ones_and_it_is_said() -> None:
    shout, smile = np.linspace(0, 6, FRAMES), perform(mouth_cm=1.0, frames=1)
    mouths = measure_mouths([perform(mouth_cm=np.linspace(0, 3, 50), frames=50)])
    assert mouths is not None and mouths.frames == 50
    assert mouths.opening == pytest.approx((0, 3 / 8.9), abs=0.02), "3 cm, of 8.9 cm between the eyes' corners"
    kept = transfer_motion(perform(mouth_cm=shout), smile, FACE, Transfer(), mouths=mouths)
    (line,) = [note for note in kept.notes if "held back" in note]
    assert line.startswith("the mouth's opening held back in") and "trained from 0.00 to 0.3" in line
    free = transfer_motion(perform(mouth_cm=shout), smile, FACE, Transfer(limits=False), mouths=mouths)
    assert not any("held back" in note for note in free.notes)
    gaps = [opening(one.points, "mouth")[0] for one in (kept, free)]
    np.testing.assert_allclose(gaps[0][:2], gaps[1][:2], atol=0.01)
    assert (np.diff(gaps[0]) >= -0.01).all() and gaps[0][-1] < 0.6 * gaps[1][-1]
    wider = transfer_motion(perform(), perform(mouth_cm=5.0, frames=1), FACE, Transfer(), mouths=mouths)
    assert not any("held back" in note for note in wider.notes), "the portrait's own mouth stays possible"
    eyes = [one.points[:, list(topology.RIGHT_EYE)] for one in (kept, free)]
    np.testing.assert_allclose(eyes[0], eyes[1], atol=1e-6)
    assert measure_mouths([]) is None
    with pytest.raises(ValueError, match=r"lip is .0.3, 0.2.; expected the lower end first"):
        TrainedMouths(opening=(0, 1), width=(0, 1), lip=(0.3, 0.2), frames=1)


def test_trained_poses_are_measured_on_the_clips() -> None:
    clip = perform(frames=101, yaw_deg=np.linspace(-40, 20, 101))
    clip = replace(clip, matrix=FACE.estimate(clip.points, SIZE, SIZE)[1].astype(np.float32))
    poses = measure_poses([clip])
    assert poses is not None and poses.frames == 101
    assert poses.yaw_deg == pytest.approx((-40, 20), abs=1.5) and poses.pitch_deg == pytest.approx((0, 0), abs=1)
    assert measure_poses([perform()]) is None, "a clip without poses"
    assert euler_deg(clip.matrix)[0, 1] == pytest.approx(-40, abs=1.5)


def test_a_face_is_kept_in_the_picture() -> None:
    reference = perform(frames=1)
    away = perform()
    points = away.points.copy()
    points[..., 0] += np.linspace(0, 0.6, FRAMES)[:, None]
    kept = transfer_motion(replace(away, points=points), reference, FACE, Transfer())
    assert np.nanmax(kept.points[:, list(topology.EXPRESSION_POINTS)]) <= SIZE
    assert any("would leave the picture in" in note for note in kept.notes)


def test_a_driver_that_begins_with_its_mouth_open_gets_a_neutral_put_together() -> None:
    # the eyes are closed whenever the mouth is
    mouth = np.array([1.5, 1.5, 1.5, 0, 0, 1.5, 1.5, 1.5, 1.5])
    open_by = opening(FACE.canonical[None], "right_eye")[0][0]
    driver = perform(mouth_cm=mouth, lids_cm=np.where(mouth > 0, 0, open_by))
    vertices, _ = FACE.estimate(driver.points, SIZE, SIZE)
    auto = choose_neutral(driver, vertices, FACE)
    assert auto.frame is None and "put together" in auto.words
    gap, width = opening(auto.vertices[None], "mouth")
    assert gap[0] < 0.1 * width[0], "the mouth of frames 3 and 4"
    assert opening(auto.vertices[None], "left_eye")[0][0] > 0.8 * opening(vertices, "left_eye")[0].max(), "others' eyes"
    first = choose_neutral(driver, vertices, FACE, "first")
    assert first.frame == 0 and "frame 0" in first.words
    assert choose_neutral(driver, vertices, FACE, "4").frame == 4
    calm = perform(mouth_cm=np.array([1.0, 1, 0, 0, 1, 1, 1, 1, 1]))
    assert choose_neutral(calm, FACE.estimate(calm.points, SIZE, SIZE)[0], FACE).frame in (2, 3)
    for wrong, message in (("9", "frames are 0 to 8"), ("calm", "expected auto, first, composite")):
        with pytest.raises(ValueError, match=message):
            choose_neutral(driver, vertices, FACE, wrong)


def test_a_mouth_that_is_never_closed_is_closed_for_the_neutral() -> None:
    driver = perform(mouth_cm=np.linspace(2, 3, FRAMES))
    neutral = choose_neutral(driver, FACE.estimate(driver.points, SIZE, SIZE)[0], FACE)
    assert "never closed" in neutral.words and opening(neutral.vertices[None], "mouth")[0][0] == pytest.approx(0)


def test_a_still_picture_gives_its_pose_and_expression_and_is_eased_into() -> None:
    still = perform(mouth_cm=1.5, roll_deg=15.0, frames=25)
    reference = perform(frames=1, roll_deg=3.0)
    np.testing.assert_allclose(-poses_of(carry(still, reference)), 3, atol=1, err_msg="against itself it gives no turn")
    how = of_a_still(Transfer(limits=False), 1.0)
    assert how.ease_s == 0.25 and of_a_still(Transfer(ease_s=0.1), 1.0).ease_s == 0.1
    points = transfer_motion(still, reference, FACE, how).points
    np.testing.assert_allclose(points[0], own_pixels(reference), atol=0.5)
    roll = -poses_of(points)
    assert roll[0] == pytest.approx(3, abs=1) and np.allclose(roll[7:18], 15, atol=1), "held, as the picture has it"
    gaps = np.linalg.norm(points[:, 13] - points[:, 14], axis=1)
    width = np.linalg.norm(points[12, 61] - points[12, 291])
    shown = still.pixels()[0]
    theirs = np.linalg.norm(shown[13] - shown[14]) / np.linalg.norm(shown[61] - shown[291])
    assert gaps[0] < 1 and gaps[12] / width == pytest.approx(theirs, rel=0.15)
    assert np.all(np.diff(gaps[:7]) > 0), "it sets in little by little"


def test_a_mean_face_is_no_expression_of_a_face_of_other_measures() -> None:
    """Somebody's wide eyes and long nose are theirs; a still picture of them at rest changes nothing."""
    still = perform(frames=9)
    points = still.points.copy()
    eye = list(region_of_vertices(FACE) == 0)
    middle = points[:, list(topology.RIGHT_EYE)].mean(axis=1, keepdims=True)
    points[:, :468][:, eye] = middle + 1.15 * (points[:, :468][:, eye] - middle)
    wide = replace(still, points=points)
    reference = perform(frames=1)
    moved = transfer_motion(wide, reference, FACE, of_a_still(Transfer(limits=False), 1.0)).points[4]
    seen = [index for index in topology.EXPRESSION_POINTS if index < 468]
    unit = float(topology.interocular_distance(own_pixels(reference)[None])[0])
    assert np.linalg.norm(moved - own_pixels(reference), axis=1)[seen].mean() < 0.03 * unit
