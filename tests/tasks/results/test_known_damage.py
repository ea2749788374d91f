"""Known damage to pictures of a real face and of a sample clip: which metric sees which, detected anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.scores import score
from fye_model.landmarks.geometry import FaceGeometry
from tasks.faces.detector import FaceLandmarker
from tasks.media.read import read_frames
from tasks.results.reenactment import detect_faces
from tests.tasks.results.damage import (
    GAP,
    at_half_amplitude,
    blurred,
    flickering,
    late,
    with_eyes_of,
    with_glasses,
    with_mirrored_eyes,
    with_mouth_of,
    with_teeth,
)

SIZE = 160
GEOMETRY = FaceGeometry.mean_mesh()


@dataclass(frozen=True)
class Scene:
    """A clip in which mouth, eyes and gaze move, and a score of anything held against it."""

    truth: Truth
    score: Callable[[np.ndarray], dict[str, float]]


@pytest.fixture(scope="module")
def detector(landmarker_asset: Any) -> Iterator[FaceLandmarker]:
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as opened:
        yield opened


def _square(frames: np.ndarray, detector: FaceLandmarker) -> np.ndarray:
    """A fixed square around the first frame's face, SIZE pixels wide."""
    height, width = frames.shape[1:3]
    left, top, right, bottom = detector.detect(frames[0])[0].box
    half = 0.75 * max((right - left) * width, (bottom - top) * height)
    x, y = (left + right) / 2 * width, (top + bottom) / 2 * height
    box = (max(x - half, 0), max(y - half, 0), min(x + half, width), min(y + half, height))
    return np.stack([np.asarray(Image.fromarray(frame).resize((SIZE, SIZE), box=box)) for frame in frames])


@pytest.fixture(scope="module", params=["real", "sample"])
def scene(request: pytest.FixtureRequest, detector: FaceLandmarker, sample_clips: list[Path]) -> Scene:
    if request.param == "real":
        shared: Path = request.getfixturevalue("shared")
        frames = read_frames(shared / "data" / "driving" / "d18.mp4", slice(84, 110))  # it talks, and blinks once
    else:
        frames = read_frames(sample_clips[0])[6:]
    square = _square(frames, detector)
    truth = Truth(square, detect_faces(detector, square, GEOMETRY))
    assert truth.faces.found.all()

    def measure(result: np.ndarray) -> dict[str, float]:
        return score(Comparison(truth, result, detect_faces(detector, result, GEOMETRY))).summary()

    return Scene(truth, measure)


def _mouth(values: dict[str, float]) -> tuple[float, float]:
    return values["expression.mouth_opening.correlation"], values["expression.mouth_opening.slope"]


def _eyes(values: dict[str, float], kind: str) -> float:
    return (values[f"expression.eye_opening_left.{kind}"] + values[f"expression.eye_opening_right.{kind}"]) / 2


def test_a_copy_of_the_truth_is_perfect(scene: Scene) -> None:
    values = scene.score(scene.truth.frames)
    assert (values["l1"], values["landmark_error"], values["expression_error"], values["landmark_ap"]) == (0, 0, 0, 1)
    assert values["ssim"] == pytest.approx(1)
    assert values["expression_correlation"] == pytest.approx(1)
    assert (values["blinks.recall"], values["blinks.precision"], values["blinks.timing"]) == (1, 1, 0)


def test_a_blur_is_seen_by_the_picture_and_less_by_what_the_face_does(scene: Scene) -> None:
    mild, strong = scene.score(blurred(scene.truth.frames, 1)), scene.score(blurred(scene.truth.frames, 3))
    assert 0 < mild["l1"] < strong["l1"] and 1 > mild["ssim"] > strong["ssim"]
    assert mild["l1_expression"] > mild["l1_rest"]
    assert _mouth(mild) == pytest.approx((1, 1), abs=0.15)
    assert mild["landmark_ap"] > 0.9 > 0.75 > strong["landmark_ap"]


def test_one_frame_late_is_seen_by_the_blinks_timing_and_the_eyes_correlation(scene: Scene) -> None:
    values = scene.score(late(scene.truth.frames))
    assert (values["blinks.recall"], values["blinks.timing"]) == (1, 1)
    assert _eyes(values, "correlation") < 0.95
    assert 0.9 < _mouth(values)[0] < 0.999
    assert values["l1"] > 0


def test_a_frozen_mouth_is_seen_by_the_mouth_while_l1_hardly_notices(scene: Scene) -> None:
    closed = int(scene.truth.signals["mouth_opening"].argmin())
    values = scene.score(with_mouth_of(scene.truth.frames, scene.truth.faces, closed))
    assert abs(_mouth(values)[1]) < 0.15 and _mouth(values)[0] < 0.6
    assert values["expression.mouth_opening.error"] > 0.05
    assert values["dynamics.lips"] < 0.3 and values["dynamics.lips"] < values["dynamics.brows"]
    assert _eyes(values, "correlation") > 0.9 and values["blinks.recall"] == 1
    assert values["l1"] < 0.03 and values["l1_rest"] < values["l1_expression"]


def test_missing_blinks_are_seen_by_the_eyes_while_l1_and_landmark_error_hardly_notice(scene: Scene) -> None:
    opening = scene.truth.signals["eye_opening_left"] + scene.truth.signals["eye_opening_right"]
    values = scene.score(with_eyes_of(scene.truth.frames, scene.truth.faces, int(opening.argmax())))
    assert values["blinks.recall"] == 0
    assert _eyes(values, "slope") < 0.3 and _eyes(values, "correlation") < 0.8
    assert _mouth(values) == pytest.approx((1, 1), abs=0.05)
    assert values["l1"] < 0.01 and values["landmark_error"] < 0.02  # why these cannot carry the verdict


def test_mirrored_gaze_is_seen_by_the_gaze_and_not_by_mouth_and_eyes(scene: Scene) -> None:
    values = scene.score(with_mirrored_eyes(scene.truth.frames, scene.truth.faces))
    moves = scene.truth.signals["gaze_x"].std() > 0.008
    assert values["expression.gaze_x.correlation"] < (-0.4 if moves else 0.4)
    assert _mouth(values)[0] > 0.99 and _eyes(values, "correlation") > 0.9
    assert values["l1"] < 0.01


def test_half_the_amplitude_is_seen_by_the_slope_and_not_by_the_correlation(scene: Scene) -> None:
    values = scene.score(at_half_amplitude(scene.truth.frames, scene.truth.signals["mouth_opening"]))
    correlation, slope = _mouth(values)
    assert correlation > 0.9 and slope == pytest.approx(0.5, abs=0.12)


def test_another_person_who_does_something_else_is_seen_by_picture_landmarks_and_expression(
    scene: Scene, shared: Path, detector: FaceLandmarker
) -> None:
    count = len(scene.truth.frames)
    other = _square(read_frames(shared / "data" / "driving" / "d6.mp4", slice(0, count)), detector)
    values = scene.score(other)
    assert values["l1"] > 0.1 and values["ssim"] < 0.7 and values["landmark_error"] > 0.05
    assert values["expression_correlation"] < 0.5 and values["blinks.recall"] == 0


def test_a_repeated_frame_follows_nothing_however_good_its_picture(scene: Scene) -> None:
    values = scene.score(np.repeat(scene.truth.frames[:1], len(scene.truth.frames), axis=0))
    assert (values["expression_correlation"], values["blinks.recall"]) == (0, 0)
    assert _mouth(values) == (0, pytest.approx(0, abs=1e-9))


@pytest.fixture(scope="module", params=["real", "sample"])
def turning(
    request: pytest.FixtureRequest, detector: FaceLandmarker, sample_clips: list[Path]
) -> tuple[Scene, Callable[..., np.ndarray]]:
    """A clip whose head is seen from the front and turned, and what can come or go at its mouth."""
    at_the_mouth = with_teeth
    if request.param == "real":
        shared: Path = request.getfixturevalue("shared")
        frames = read_frames(shared / "data" / "driving" / "d3.mp4", slice(200, 300))[::4]
    else:
        frames = read_frames(sample_clips[1])[::2]
        at_the_mouth = partial(with_teeth, colour=GAP)  # this face smiles, and shows its own
    square = _square(frames, detector)
    truth = Truth(square, detect_faces(detector, square, GEOMETRY))
    assert truth.front.sum() >= 3 and truth.turned.sum() >= 3

    def measure(result: np.ndarray) -> dict[str, float]:
        return score(Comparison(truth, result, detect_faces(detector, result, GEOMETRY))).summary()

    return Scene(truth, measure), at_the_mouth


def test_glasses_and_teeth_that_come_or_go_with_the_turn_of_the_head_are_seen_where_they_are(
    turning: tuple[Scene, Callable[..., np.ndarray]],
) -> None:
    scene, at_the_mouth = turning
    frames, faces, turned = scene.truth.frames, scene.truth.faces, scene.truth.turned
    glasses, teeth = (scene.score(paint(frames, faces, turned)) for paint in (with_glasses, at_the_mouth))
    late_and_soft = scene.score(blurred(late(frames), 1))
    closed = int(scene.truth.signals["mouth_opening"].argmin())
    frozen = scene.score(with_mouth_of(frames, faces, closed))
    for region, seen, other in (("eyes", glasses, teeth), ("mouth", teeth, glasses)):
        name = f"invented.{region}"
        assert seen[name] > 0.02
        assert seen[name] > 2 * max(values[name] for values in (other, late_and_soft, frozen)), name
    assert glasses["l1"] < 0.02 and teeth["l1"] < 0.02  # which is why the picture's numbers miss them
    copy = scene.score(frames)
    assert (copy["invented.eyes"], copy["invented.mouth"]) == (0, 0)


def test_flicker_is_seen_by_the_change_from_frame_to_frame_alone(scene: Scene) -> None:
    flicker, lasting = (scene.score(flickering(scene.truth.frames, lasting=kind)) for kind in (False, True))
    assert flicker["change_error"] > 0.02 > 0.002 > lasting["change_error"]
    assert flicker["l1"] == pytest.approx(lasting["l1"], rel=0.3) and flicker["ssim"] > 0.95
