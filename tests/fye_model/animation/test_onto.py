"""A driver's expression on a person in footage: what is drawn, the square that follows, and the seam."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fye_model.animation.blend import ColourKeeper, head_mask, soft_mask, steady, with_detail
from fye_model.animation.description import Crop
from fye_model.animation.onto import (
    at_times,
    calm_frame,
    carry_onto,
    following_squares,
    in_squares,
    spans_of,
)
from fye_model.animation.transfer import Transfer
from fye_model.animation.turn import Turn
from fye_model.landmarks import topology
from fye_model.landmarks.mouths import measure_mouths
from fye_model.landmarks.poses import TrainedPoses
from fye_model.landmarks.regions import opening
from fye_model.landmarks.table import LandmarkSequence
from tests.fye_model.animation.test_transfer import FACE, FRAMES, SIZE, perform

RIGID = [
    6,
    168,
    197,
    195,
    *topology.EYE_CORNERS,
]  # bridge of the nose and corners of the eyes: no expression moves them
TURNING = np.linspace(-15, 15, FRAMES)
SPEAKING = np.array([0, 0.4, 0.8, 1.2, 1.6, 1.2, 0.8, 0.4, 0])


def apart(a: np.ndarray, b: np.ndarray, which: list[int]) -> float:
    """Largest mean distance of some points in a frame, in distances between the eyes."""
    return float((np.linalg.norm(a - b, axis=-1)[:, which].mean(axis=1) / topology.interocular_distance(b)).max())


def test_the_head_follows_the_footage_and_the_mouth_the_driver() -> None:
    footage, driver = perform(yaw_deg=TURNING), perform(mouth_cm=SPEAKING, yaw_deg=-TURNING)
    carried = carry_onto(driver, footage, 4, FACE, Transfer())
    assert apart(carried.points, footage.pixels(), RIGID) < 0.01
    gap, width = opening(carried.points, "mouth")
    theirs = opening(perform(mouth_cm=SPEAKING, yaw_deg=TURNING).pixels(), "mouth")
    np.testing.assert_allclose(gap / width, theirs[0] / theirs[1], atol=0.03)


def test_what_is_not_taken_over_is_the_persons_own_in_every_frame() -> None:
    footage = perform(mouth_cm=SPEAKING, lids_cm=SPEAKING / 8, yaw_deg=TURNING)
    driver = perform(mouth_cm=1.0 - SPEAKING / 2, yaw_deg=-TURNING)
    nothing = Transfer(eyes=0, brows=0, mouth=0, gaze=0)
    still = carry_onto(driver, footage, 0, FACE, nothing)
    assert apart(still.points, footage.pixels(), list(topology.EXPRESSION_POINTS)) < 1e-3
    mouth = carry_onto(driver, footage, 0, FACE, Transfer(eyes=0, brows=0, gaze=0)).points
    eyes = [*topology.RIGHT_EYE, *topology.LEFT_EYE]
    assert (
        apart(mouth, footage.pixels(), eyes) < 1e-3 < 0.05 < apart(mouth, footage.pixels(), list(topology.INNER_LIPS))
    )
    halfway = carry_onto(driver, footage, 0, FACE, Transfer(), strength=np.zeros(FRAMES))
    assert apart(halfway.points, footage.pixels(), list(topology.EXPRESSION_POINTS)) < 1e-3


def test_the_drivers_head_turns_the_person_where_the_person_is_and_within_limits() -> None:
    footage, driver = perform(yaw_deg=TURNING), perform(yaw_deg=np.linspace(0, 40, FRAMES))
    driven = carry_onto(driver, footage, 4, FACE, Transfer(), head="driver", poses=None)
    asked = perform(yaw_deg=np.linspace(0, 40, FRAMES)).pixels()
    assert apart(driven.points, asked, RIGID) < 0.02 < apart(driven.points, footage.pixels(), RIGID)
    poses = TrainedPoses(pitch_deg=(-5, 5), yaw_deg=(-22, 22), roll_deg=(-5, 5), frames=9)
    held = carry_onto(driver, footage, 4, FACE, Transfer(), head="driver", poses=poses)
    assert any("yaw held back" in note for note in held.notes)
    assert apart(held.points, asked, RIGID) > 0.05
    own = carry_onto(driver, perform(yaw_deg=np.linspace(0, 40, FRAMES)), 4, FACE, Transfer(), poses=poses)
    assert any("turned further than the model was trained on in 4 of 9 frames" in note for note in own.notes)
    assert apart(own.points, asked, RIGID) < 0.01, "the footage's pose is followed all the same"


def test_the_mouth_stays_among_the_trained_ones_unless_no_limit_is_wanted() -> None:
    footage, shout = perform(yaw_deg=TURNING), perform(mouth_cm=np.linspace(0, 6, FRAMES))
    mouths = measure_mouths([perform(mouth_cm=np.linspace(0, 3, 50), frames=50)])
    kept = carry_onto(shout, footage, 4, FACE, Transfer(), mouths=mouths)
    free = carry_onto(shout, footage, 4, FACE, Transfer(limits=False), mouths=mouths)
    assert any("the mouth's opening held back" in note for note in kept.notes)
    assert not any("held back" in note for note in free.notes)
    gaps = [opening(one.points, "mouth")[0] for one in (kept, free)]
    assert gaps[0][-1] < 0.6 * gaps[1][-1]
    np.testing.assert_allclose(gaps[0][:2], gaps[1][:2], rtol=0.02)


def test_frames_without_a_face_on_one_side_are_not_made() -> None:
    driver, footage = perform(), perform()
    gone = np.isin(np.arange(FRAMES), [2, 3])
    hidden = replace(footage, valid=~gone, points=np.where(gone[:, None, None], np.nan, footage.points))
    carried = carry_onto(at_times(driver.select(slice(0, 7)), driver.fps, FRAMES), hidden, 0, FACE, Transfer())
    made = np.isfinite(carried.points[:, 0, 0])
    assert [(span.start, span.stop) for span in spans_of(made)] == [(0, 2), (4, 7)]
    with pytest.raises(ValueError, match="frame 2 of the footage does not show the person"):
        carry_onto(driver, hidden, 2, FACE, Transfer())
    nobody = replace(driver, valid=np.zeros(FRAMES, bool))
    with pytest.raises(ValueError, match="at no time do both"):
        carry_onto(nobody, footage, 0, FACE, Transfer())


def test_the_driver_is_laid_on_the_footages_clock() -> None:
    driver = perform(mouth_cm=np.arange(FRAMES) / 8)
    faster = at_times(driver, 2 * driver.fps, 2 * FRAMES + 4)
    assert faster.valid.sum() == 2 * FRAMES and not faster.valid[-4:].any()
    gap = opening(faster.pixels()[: 2 * FRAMES - 1], "mouth")[0]
    assert np.diff(gap).min() > 0.3 * np.diff(gap).max(), "it goes on between two frames"
    np.testing.assert_allclose(faster.points[:18:2], driver.points, atol=1e-6)


def test_the_calm_frame_has_open_eyes_a_closed_mouth_and_a_usual_pose() -> None:
    mouth, lids, yaw = np.full(FRAMES, 1.0), np.zeros(FRAMES), np.zeros(FRAMES)
    mouth[[1, 2, 5]], lids[1], yaw[2] = 0.0, 0.5, 35.0
    assert calm_frame(perform(mouth_cm=mouth, lids_cm=lids, yaw_deg=yaw), FACE) == 5


def test_the_square_follows_the_face_without_its_jitter() -> None:
    face = perform(frames=50)
    x = np.linspace(0, 0.4, 50) + np.random.default_rng(0).normal(0, 0.004, 50)
    moved = replace(face, points=(face.points * [0.4, 0.4, 0.4] + np.c_[x, x * 0, x * 0][:, None]).astype(np.float32))
    squares = following_squares(moved, Turn(SIZE, SIZE), Crop(margin=0.3, faces=None))
    left, side = (np.array([getattr(square, name) for square in squares]) for name in ("left", "side"))
    assert np.ptp(side) <= 2 and np.abs(np.diff(left, 2)).max() <= 2 and left[-1] - left[0] > 100
    inside = in_squares(moved, Turn(SIZE, SIZE), squares, 64)
    assert inside.pixels().min() > 0 and inside.pixels().max() < 64
    back = inside.pixels()[7] * (side[7] / 64) + [squares[7].left, squares[7].top]
    np.testing.assert_allclose(back, moved.pixels()[7], atol=1e-3)


def test_the_mask_holds_both_faces_and_nothing_at_the_squares_edge() -> None:
    closed, open_ = (perform(mouth_cm=value, frames=1) for value in (0.0, 2.0))

    def shrunk(sequence: LandmarkSequence) -> np.ndarray:
        return sequence.pixels() / SIZE * 64

    both = np.concatenate([shrunk(closed), shrunk(open_)])
    mask = soft_mask(both, 64)
    oval = both[:, list(topology.FACE_OVAL)].reshape(-1, 2).round().astype(int).clip(0, 63)
    assert mask[oval[:, 1], oval[:, 0]].min() > 0.8
    assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()
    assert np.abs(np.diff(mask, axis=0)).max() < 0.45, "no edge"
    assert head_mask(both, 64).sum() > 1.3 * mask.sum(), "the driver's head takes the hair along"


def test_the_seam_of_a_jittering_face_is_steady() -> None:
    still = perform(frames=20).pixels() / SIZE * 64
    shaken = still + np.random.default_rng(0).normal(0, 0.5, (20, 1, 2))

    def flicker(points: np.ndarray) -> float:
        masks = np.stack([soft_mask(face[None], 64) for face in points])
        return float(np.abs(np.diff(masks, axis=0)).mean())

    assert flicker(steady(shaken, 25.0)) < 0.5 * flicker(shaken)


def test_fine_detail_is_the_footages_where_both_show_the_same() -> None:
    rows, columns = np.mgrid[:256, :256]
    grain = 20 * ((rows // 2 + columns // 2) % 2) - 10
    whole = (np.dstack([120 + columns / 8, 110 + rows / 8, 90 + 0 * rows]) + grain[..., None]).astype(np.uint8)
    small = np.asarray(Image.fromarray(whole).resize((64, 64), Image.Resampling.LANCZOS))
    made = (small + np.array([3, -3, 2])).astype(np.uint8)
    made[40:56, 24:40] = (60, 20, 20)  # an opened mouth
    result = with_detail(made, small, whole).astype(float)
    plain = np.asarray(Image.fromarray(made).resize((256, 256), Image.Resampling.LANCZOS)).astype(float)
    skin = slice(16, 120), slice(16, 240)
    assert result[skin].std(axis=(0, 1)).min() > 0.9 * whole[skin].astype(float).std(axis=(0, 1)).min()
    assert np.abs(result[skin] - whole[skin] - (3, -3, 2)).max() < 3 < np.abs(plain[skin] - whole[skin]).mean()
    assert np.abs(result[176:208, 112:144] - (60, 20, 20)).max() < 2, "nothing of the closed one shows through"


def test_colours_are_kept_slowly() -> None:
    mask = soft_mask(perform(frames=1).pixels() / SIZE * 64, 64)
    footage = np.full((64, 64, 3), (150, 120, 100), np.uint8)
    made = np.full((64, 64, 3), (130, 125, 100), np.uint8)
    keeper = ColourKeeper(25.0)
    assert (keeper.at_seam(made, footage, mask) == footage).all()
    flash = keeper.at_seam(made, np.full_like(footage, 220), mask).astype(int)
    assert 5 < (flash - footage).mean() < 0.25 * (220 - footage).mean(), "one frame does not decide"
