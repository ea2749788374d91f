"""What comes or goes with the turn of the head is seen where it is, and what is always there is not invented."""

from __future__ import annotations

import numpy as np
import pytest

from fye_model.evaluation.appearance import grid
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.faces import FaceTrack
from fye_model.evaluation.invented import NO_FACE_INVENTED
from fye_model.evaluation.scores import score
from fye_model.evaluation.table import BY_NAME
from tests.fye_model.evaluation.moving_face import face, track
from tests.tasks.results.damage import blurred, late, with_glasses, with_teeth

SIZE = 128
YAW = np.array([0, 2, -3, 4, 1, 9, 12, 18, -10, -15], float)
TURNED = np.abs(YAW) >= 8
METRICS = [BY_NAME["invented.eyes"], BY_NAME["invented.mouth"]]


@pytest.fixture(scope="module")
def faces() -> FaceTrack:
    return track([face(yaw_deg=yaw) for yaw in YAW], SIZE)


@pytest.fixture(scope="module")
def truth(faces: FaceTrack) -> Truth:
    """Skin with spots that turn with the head, under light that comes from one side of the room."""
    shades = np.random.default_rng(0).uniform(-25, 25, 468)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    frames = []
    for points in faces.pixels:
        light = 140 + 0.3 * x
        for (px, py), shade in zip(points[:468], shades, strict=True):
            light = light + shade * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8)
        frames.append(light)
    return Truth(np.clip(np.stack(frames), 0, 255).astype(np.uint8)[..., None].repeat(3, axis=-1), faces)


def _values(truth: Truth, result: np.ndarray, faces: FaceTrack | None = None) -> tuple[float, float]:
    scores = score(Comparison(truth, result, faces or truth.faces), METRICS)
    return scores.value(METRICS[0]), scores.value(METRICS[1])


def test_a_copy_and_a_result_that_does_not_move_invent_nothing(truth: Truth, faces: FaceTrack) -> None:
    assert _values(truth, truth.frames) == (0, 0)
    still = np.repeat(truth.frames[:1], len(YAW), axis=0)
    assert _values(truth, still, faces.repeated(len(YAW))) == (0, 0)


def test_glasses_that_come_with_the_turn_are_seen_around_the_eyes_alone(truth: Truth, faces: FaceTrack) -> None:
    eyes, mouth = _values(truth, with_glasses(truth.frames, faces, TURNED))
    always = _values(truth, with_glasses(truth.frames, faces, np.ones(len(YAW), bool)))
    assert eyes > 0.08 > 0.05 > always[0]  # painted, they do not turn quite as a head does
    assert mouth < 0.1 * eyes


def test_blur_and_lateness_are_no_inventions(truth: Truth, faces: FaceTrack) -> None:
    before = FaceTrack(faces.points[np.maximum(np.arange(len(YAW)) - 1, 0)], None, SIZE, SIZE, faces.geometry)
    assert max(_values(truth, blurred(truth.frames, 1))) < 0.01
    assert max(_values(truth, late(truth.frames), before)) < 0.01


def test_glasses_that_go_with_the_turn_are_seen_as_well(truth: Truth, faces: FaceTrack) -> None:
    assert _values(truth, with_glasses(truth.frames, faces, ~TURNED))[0] > 0.02


def test_teeth_that_come_with_the_turn_are_seen_at_the_mouth_alone(truth: Truth, faces: FaceTrack) -> None:
    eyes, mouth = _values(truth, with_teeth(truth.frames, faces, TURNED))
    always = _values(truth, with_teeth(truth.frames, faces, np.ones(len(YAW), bool)))
    assert mouth > 0.04 > 10 * always[1] and eyes < 0.1 * mouth


def test_only_turned_frames_count_and_one_that_lost_its_face_counts_against_it(truth: Truth, faces: FaceTrack) -> None:
    lost = FaceTrack(faces.points.copy(), None, SIZE, SIZE, faces.geometry)
    lost.points[[0, 5]] = np.nan
    found = score(Comparison(truth, truth.frames, lost), METRICS[:1]).per_frame["invented.eyes"]
    assert np.isnan(found)[~TURNED].all() and np.isfinite(found)[TURNED].all()
    assert found[5] == NO_FACE_INVENTED
    gone = score(Comparison(truth, truth.frames, track([None] * len(YAW), SIZE)), METRICS[:1])
    assert gone.value(METRICS[0]) == pytest.approx(NO_FACE_INVENTED)


def test_a_head_that_does_not_turn_asks_nothing_and_the_reason_says_so(truth: Truth, faces: FaceTrack) -> None:
    front = Truth(truth.frames[~TURNED], FaceTrack(faces.points[~TURNED], None, SIZE, SIZE, faces.geometry))
    assert np.isnan(_values(front, front.frames)).all()
    assert METRICS[0].reason == "no clip shows the head both within 5 and beyond 8 degrees of yaw"


def test_the_side_that_a_far_turned_head_hides_is_left_out(truth: Truth) -> None:
    far = track([face(), face(yaw_deg=40)], SIZE)
    shown = np.isfinite(Truth(truth.frames[:2], far).drift[1])
    assert 0.3 < shown.mean() < 0.9
    assert {name: int(where.sum()) > 100 for name, where in grid().regions.items()} == {"eyes": True, "mouth": True}
