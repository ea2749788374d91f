"""The landmarker wrapper on clips: small faces, strides, broken graphs."""

from __future__ import annotations

import gc
import zipfile
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


def test_a_system_without_its_libraries_is_told_what_to_install(
    landmarker_asset: LandmarkerAsset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mediapipe.tasks.python.core import mediapipe_c_bindings as bindings

    def missing(_: str) -> None:
        raise OSError("libGLESv2.so.2: cannot open shared object file")

    monkeypatch.setattr(bindings, "_shared_lib", None)
    monkeypatch.setattr(bindings.ctypes, "CDLL", missing)
    with (
        pytest.raises(OSError, match=r"does not load .*libGLESv2.*apt-get install .*libgles2 libegl1"),
        FaceLandmarker(landmarker_asset.path, landmarker_asset.model),
    ):
        pass


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
def test_the_usual_model_gives_matrix_and_blendshapes(landmarker: FaceLandmarker, face: np.ndarray) -> None:
    (found,) = landmarker.detect(face)
    assert found.matrix is not None and found.blendshapes is not None and found.blendshapes.shape == (52,)
    assert -60 < found.matrix[2, 3] < -20  # centimetres in front of the camera


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
    assert found.matrix is None  # it would belong to the part's camera


def test_a_picture_without_a_face_gives_nothing(landmarker: FaceLandmarker) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    assert landmarker.detect_small(noise) == []


@pytest.fixture
def failing_task(landmarker_asset: LandmarkerAsset, tmp_path: Path) -> Path:
    """A bundle that opens and whose graph fails at every face: the landmark model in it is not one."""
    with zipfile.ZipFile(landmarker_asset.path) as bundle:
        detector = bundle.read("face_detector.tflite")
    path = tmp_path / "failing.task"
    with zipfile.ZipFile(path, "w") as wrong:
        wrong.writestr("face_detector.tflite", detector)
        wrong.writestr("face_landmarks_detector.tflite", detector)
    return path


def test_a_graph_that_fails_is_replaced(
    landmarker_asset: LandmarkerAsset, failing_task: Path, face: np.ndarray
) -> None:
    with FaceLandmarker(failing_task, landmarker_asset.model) as opened:
        broken = opened._landmarker
        opened.asset = landmarker_asset.path  # the graph is broken already; the one that replaces it will not be
        assert len(opened.detect(face)) == 1
        assert opened._landmarker is not broken
        assert len(opened.detect(face)) == 1


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_model_that_cannot_work_is_an_error_and_is_closed(failing_task: Path, face: np.ndarray) -> None:
    with FaceLandmarker(failing_task, "wrong") as opened, pytest.raises(RuntimeError, match="failed"):
        opened.detect(face)
    assert opened._landmarker is None
    gc.collect()  # nothing is left for the garbage collector to free


def test_wrong_pictures_and_a_missing_model_are_clear_errors(landmarker: FaceLandmarker, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"RGB picture .* got \(4, 4\) of float64"):
        landmarker.detect(np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"No landmark model at .*none\.task"):
        FaceLandmarker(tmp_path / "none.task", "x")


def test_a_result_is_read_as_mediapipes_own_objects_tell_it(landmarker_task: Path, face: np.ndarray) -> None:
    """Bit for bit, for every face: what is read out of its memory is what its Python interface gives."""
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    pair = np.concatenate([face, face], axis=1)
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(landmarker_task)),
        num_faces=2,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    with vision.FaceLandmarker.create_from_options(options) as theirs:
        told = theirs.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(pair)))
    with FaceLandmarker(landmarker_task, "usual", max_faces=2) as ours:
        found = ours.detect(pair)
    assert len(found) == len(told.face_landmarks) == 2
    points = [np.array([(p.x, p.y, p.z) for p in one], np.float32) for one in told.face_landmarks]
    shapes = [
        np.array([c.score for c in sorted(one, key=lambda c: c.index)], np.float32) for one in told.face_blendshapes
    ]
    for one in found:
        (same,) = [number for number in range(2) if np.array_equal(points[number], one.points)]
        assert np.array_equal(one.blendshapes, shapes[same])
        assert np.array_equal(one.matrix, np.asarray(told.facial_transformation_matrixes[same], np.float32))


def test_points_alone_are_the_same_points(landmarker_task: Path, face: np.ndarray) -> None:
    with FaceLandmarker(landmarker_task, "usual") as whole, FaceLandmarker(landmarker_task, "usual", 1, True) as alone:
        (one,), (other,) = whole.detect(face), alone.detect(face)
    assert np.array_equal(one.points, other.points)
    assert one.matrix is not None and other.matrix is None and other.blendshapes is None
