"""The landmarker on clips: small faces, strides, parts of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fye_model.landmarks.boxes import FractionBox, overlap
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LandmarkerAsset


def first_frame(path: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    ok, frame = capture.read()
    capture.release()
    assert ok
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def landmarker(landmarker_asset: LandmarkerAsset) -> Iterator[FaceLandmarker]:
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model, max_faces=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def face(sample_clips: list[Path]) -> np.ndarray:
    return first_frame(sample_clips[0])


def test_a_face_has_points_in_its_place(landmarker: FaceLandmarker, face: np.ndarray) -> None:
    (found,) = landmarker.detect(face)
    assert found.points.shape == (478, 3) and found.points.dtype == np.float32
    left, top, right, bottom = found.box
    assert 0.2 < left < right < 0.8 and 0.2 < top < bottom < 0.95


@pytest.mark.usefixtures("landmarker_task")
def test_the_usual_model_gives_blendshapes(landmarker: FaceLandmarker, face: np.ndarray) -> None:
    (found,) = landmarker.detect(face)
    assert found.blendshapes is not None and found.blendshapes.shape == (52,)


def test_several_pictures_at_once_give_what_each_gives_alone(landmarker: FaceLandmarker, face: np.ndarray) -> None:
    half = cv2.resize(face, None, fx=0.5, fy=0.6, interpolation=cv2.INTER_AREA)
    pictures = [face, np.full((90, 120, 3), 90, np.uint8), np.concatenate([half, half], axis=1), face[:, ::-1]]
    together, alone = landmarker.detect_each(pictures), [landmarker.detect(picture) for picture in pictures]
    assert [len(found) for found in together] == [1, 0, 2, 1] == [len(found) for found in alone]
    for found, expected in zip(together, alone, strict=True):
        for one, other in zip(found, expected, strict=True):
            assert np.array_equal(one.points, other.points)
            assert np.array_equal(one.blendshapes, other.blendshapes)  # type: ignore[arg-type]  # both None: equal
    assert landmarker.detect_each([]) == []


def test_strided_views_are_read_like_copies(landmarker: FaceLandmarker, face: np.ndarray) -> None:
    wide = np.concatenate([face, face[:, ::-1]], axis=1)
    view = wide[:, : face.shape[1]]
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(landmarker.detect(view)[0].points, landmarker.detect(face)[0].points)
    mirrored = landmarker.detect(face[:, ::-1])[0]
    assert abs((1 - mirrored.points[1, 0]) - landmarker.detect(face)[0].points[1, 0]) < 0.02


@pytest.mark.parametrize("side", [220, 330])
def test_a_small_face_is_found_on_a_tile_and_mapped_back(
    landmarker: FaceLandmarker, face: np.ndarray, side: int
) -> None:
    frame = np.full((720, 1280, 3), 90, np.uint8)
    frame[300 : 300 + side, 870 : 870 + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    expected = landmarker.detect(face)[0].points[:, :2] * side + (870, 300)
    if side == 220:
        assert landmarker.detect(frame) == []
    found = landmarker.detect_small(frame)
    assert len(found) == 1
    points = found[0].points[:, :2] * (1280, 720)
    eyes = np.linalg.norm(expected[468] - expected[473])
    assert np.linalg.norm(points - expected, axis=1).mean() < 0.05 * eyes


def test_near_finds_a_small_face_with_one_more_detection(landmarker: FaceLandmarker, shared: Path) -> None:
    frame = first_frame(shared / "data" / "source_videos" / "s13.mp4")
    assert landmarker.detect(frame) == []
    (found,) = landmarker.detect_small(frame)
    moved = FractionBox(*(side + 0.01 for side in found.box))
    (again,) = landmarker.detect_small(frame, near=moved)
    assert overlap(found.box, again.box) > 0.8


def test_a_picture_without_a_face_gives_nothing(landmarker: FaceLandmarker) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    assert landmarker.detect_small(noise) == []


def test_wrong_pictures_and_a_missing_model_are_clear_errors(landmarker: FaceLandmarker, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"RGB picture .* got \(4, 4\) of float64"):
        landmarker.detect(np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"33000 x 8 pixels: expected at most 32766 a side; shrink it"):
        landmarker.detect(np.zeros((8, 33_000, 3), np.uint8))
    assert landmarker.detect(np.zeros((8, 32_766, 3), np.uint8)) == []
    with pytest.raises(ValueError, match=r"No landmark model at .*none\.task"):
        FaceLandmarker(tmp_path / "none.task", "x")


def test_points_alone_are_the_same_points(landmarker_task: Path, face: np.ndarray) -> None:
    with FaceLandmarker(landmarker_task, "usual") as whole, FaceLandmarker(landmarker_task, "usual", 1, True) as alone:
        (one,), (other,) = whole.detect(face), alone.detect(face)
    assert np.array_equal(one.points, other.points)
    assert one.blendshapes is not None and other.blendshapes is None
