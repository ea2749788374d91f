"""The landmark model run by itself finds what MediaPipe's graph around it finds."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.faces.detected import DetectedFace
from tasks.faces.detector import FaceLandmarker
from tasks.faces.face_models import EXPRESSION, FACES, POINTS, FaceModels, Upright, _places, _sample
from tasks.faces.mediapipe_graph import MediaPipeGraph
from tasks.media.read import iter_frames

_ALIKE = 1e-3  # of the distance between the pupils, the farthest point of a face


@pytest.fixture(scope="module")
def models(landmarker_task: Path) -> FaceModels:
    return FaceModels(landmarker_task, 3, blendshapes=True)


@pytest.fixture(scope="module")
def graph(landmarker_task: Path) -> Iterator[MediaPipeGraph]:
    with closing(MediaPipeGraph(landmarker_task, 3, blendshapes=True)) as opened:
        yield opened


@pytest.fixture(scope="module")
def face(sample_clips: list[Path]) -> np.ndarray:
    return next(iter_frames(sample_clips[0]))


def apart(one: DetectedFace, other: DetectedFace, picture: np.ndarray) -> float:
    """The farthest point, depth included, in distances between the pupils."""
    height, width = picture.shape[:2]
    eyes = np.linalg.norm((other.points[468, :2] - other.points[473, :2]) * (width, height))
    return float(np.abs((one.points - other.points) * (width, height, width)).max() / eyes)


def check_alike(models: FaceModels, graph: MediaPipeGraph, picture: np.ndarray, faces: int | None = None) -> None:
    picture = np.ascontiguousarray(picture)
    found, expected = models.detect(picture), graph.detect(picture)
    assert len(found) == len(expected) and faces in (None, len(found))
    for one, other in zip(found, expected, strict=True):
        assert one.points.dtype == np.float32 and one.blendshapes is not None and other.blendshapes is not None
        assert apart(one, other, picture) < _ALIKE
        assert np.abs(one.blendshapes - other.blendshapes).max() < 3e-3


def test_sample_clips_have_the_same_landmarks(
    models: FaceModels, graph: MediaPipeGraph, sample_clips: list[Path]
) -> None:
    for clip in sample_clips:
        for frame in islice(iter_frames(clip), 0, None, 8):
            check_alike(models, graph, frame, 1)


def test_so_have_wide_tall_turned_and_cut_off_faces(
    models: FaceModels, graph: MediaPipeGraph, face: np.ndarray
) -> None:
    height, width = face.shape[:2]
    side = np.full((height, width // 3, 3), 40, np.uint8)
    check_alike(models, graph, np.concatenate([side, face, side, side], axis=1), 1)
    check_alike(models, graph, np.concatenate([face, face[:51] // 2]), 1)
    for turned_deg in (-37, 20, 75):
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), turned_deg, 1.0)
        check_alike(models, graph, cv2.warpAffine(face, turn, (width, height)), 1)
    check_alike(models, graph, np.rot90(face), 1)
    for side in (425, 426):  # many pixels are exactly between two positions
        check_alike(models, graph, cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), 1)
    check_alike(models, graph, face[:, int(0.45 * width) :])  # what is beyond the edge goes on as at it
    check_alike(models, graph, face[: int(0.6 * height)])


def test_so_have_several_faces_up_to_the_number_asked_for(
    models: FaceModels, graph: MediaPipeGraph, landmarker_task: Path, face: np.ndarray
) -> None:
    small = cv2.resize(face, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    pair = np.full((face.shape[0], face.shape[1] + small.shape[1], 3), 90, np.uint8)
    pair[:, : face.shape[1]], pair[: small.shape[0], face.shape[1] :] = face, small
    check_alike(models, graph, pair, 2)
    assert len(FaceModels(landmarker_task, 1, blendshapes=False).detect(pair)) == 1


def test_nothing_is_found_where_the_graph_finds_nothing(models: FaceModels, graph: MediaPipeGraph) -> None:
    random = np.random.default_rng(0)
    for shape in ((240, 320, 3), (64, 64, 3), (9, 300, 3)):
        check_alike(models, graph, random.integers(0, 255, shape, dtype=np.uint8), 0)


def test_real_faces_have_the_same_landmarks(models: FaceModels, graph: MediaPipeGraph, shared: Path) -> None:
    videos = sorted((shared / "data").glob("*/*.mp4"))
    assert videos
    for video in videos:
        for frame in islice(iter_frames(video), 0, 76, 25):
            check_alike(models, graph, frame)


def test_sampling_is_bilinear_with_the_edge_or_black_beyond() -> None:
    ramp = np.repeat(np.arange(0, 160, 10, dtype=np.uint8)[None, :, None], 16, axis=0).repeat(3, axis=2)
    part = Upright(8.0, 8.0, 32.0, 32.0, 0.0)  # from -8 to 24
    edge, black = (_sample(ramp, _places(part, 64), beyond=beyond)[:, :, 0] for beyond in ("edge", "black"))
    across = np.interp(np.arange(64) / 2 - 8, np.arange(16), np.arange(0, 160, 10))
    assert np.array_equal(edge, np.repeat(across.round().astype(np.uint8)[None], 64, axis=0))
    inside = slice(16, 47)
    assert (
        np.array_equal(black[inside, inside], edge[inside, inside]) and not black[:15].any() and not black[:, 48:].any()
    )


def test_another_model_and_a_system_without_libraries_are_named(
    landmarker_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(landmarker_task) as bundle, zipfile.ZipFile(tmp_path / "other.task", "w") as other:
        other.writestr("face_detector.tflite", bundle.read("face_detector.tflite"))
        other.writestr(POINTS, bundle.read("face_detector.tflite"))
    with pytest.raises(ValueError, match=r"other\.task: face_landmarks_detector\.tflite takes and gives .*128"):
        FaceModels(tmp_path / "other.task", 1, blendshapes=False)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(OSError, match=r"OpenCV does not load .*apt-get install .*libgles2 libegl1"):
        FaceModels(landmarker_task, 1, blendshapes=False)


@pytest.fixture
def bundle(landmarker_task: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the usual bundle with some of its models replaced, or left out where there is None."""

    def made(name: str, **changed: bytes | None) -> Path:
        with zipfile.ZipFile(landmarker_task) as usual, zipfile.ZipFile(tmp_path / name, "w") as copy:
            for model in (FACES, POINTS, EXPRESSION):
                content = changed.get(model.removesuffix(".tflite"), usual.read(model))
                if content is not None:
                    copy.writestr(model, content)
        return tmp_path / name

    return made


def test_a_damaged_bundle_is_an_error_that_names_it(
    bundle: Callable[..., Path], landmarker_task: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.task").write_bytes(landmarker_task.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"cut\.task: not a readable \.task bundle .*fetch MediaPipe's"):
        FaceLandmarker(tmp_path / "cut.task", "x")
    whole = bundle("flipped.task").read_bytes()
    with zipfile.ZipFile(tmp_path / "flipped.task") as opened:
        inside = opened.getinfo(POINTS).header_offset + 5000
    (tmp_path / "flipped.task").write_bytes(whole[:inside] + bytes([whole[inside] ^ 1]) + whole[inside + 1 :])
    damaged = {
        "flipped.task": (tmp_path / "flipped.task", rf"{POINTS} is damaged \(Bad CRC-32"),
        "text.task": (bundle("text.task", face_detector=b"no model" * 100), rf"{FACES} is damaged"),
        "empty.task": (bundle("empty.task", face_blendshapes=b""), rf"{EXPRESSION} is damaged"),
        "gone.task": (bundle("gone.task", face_detector=None), rf"holds no {FACES}; expected MediaPipe's"),
    }
    for name, (path, says) in damaged.items():
        with pytest.raises(ValueError, match=rf"{name}: {says}"), FaceLandmarker(path, "x"):
            pass


def test_threads_that_share_it_get_their_own_faces(models: FaceModels, face: np.ndarray) -> None:
    pictures = [np.ascontiguousarray(np.roll(face, 8 * shift, axis=1)) for shift in range(6)]
    alone = [models.detect(picture) for picture in pictures]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(models.detect, pictures * 4))
    for one, other in zip(alone * 4, together, strict=True):
        assert len(one) == len(other) == 1 and np.array_equal(one[0].points, other[0].points)
