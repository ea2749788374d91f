"""MediaPipe's graph, which runs the fallback model: its results, its failures, what it lacks."""

from __future__ import annotations

import gc
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.mediapipe_graph import MediaPipeGraph
from tasks.media.read import iter_frames


@pytest.fixture(scope="module")
def face(sample_clips: list[Path]) -> np.ndarray:
    return next(iter_frames(sample_clips[0]))


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


def test_a_system_without_its_libraries_is_told_what_to_install(
    landmarker_asset: LandmarkerAsset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mediapipe.tasks.python.core import mediapipe_c_bindings as bindings

    def missing(_: str) -> None:
        raise OSError("libGLESv2.so.2: cannot open shared object file")

    monkeypatch.setattr(bindings, "_shared_lib", None)
    monkeypatch.setattr(bindings.ctypes, "CDLL", missing)
    with pytest.raises(OSError, match=r"does not load .*libGLESv2.*apt-get install .*libgles2 libegl1"):
        MediaPipeGraph(landmarker_asset.path, 1, blendshapes=False)


def test_a_graph_that_fails_is_replaced(
    landmarker_asset: LandmarkerAsset, failing_task: Path, face: np.ndarray
) -> None:
    with closing(MediaPipeGraph(failing_task, 1, blendshapes=False)) as opened:
        broken = opened._landmarker
        opened.asset = landmarker_asset.path  # the graph is broken already; the one that replaces it will not be
        assert len(opened.detect(face)) == 1
        assert opened._landmarker is not broken
        assert len(opened.detect(face)) == 1


def test_a_graph_that_could_not_be_replaced_is_opened_for_the_next_picture(
    landmarker_asset: LandmarkerAsset, failing_task: Path, face: np.ndarray, tmp_path: Path
) -> None:
    with closing(MediaPipeGraph(failing_task, 1, blendshapes=False)) as opened:
        opened.asset = tmp_path / "gone.task"
        with pytest.raises(FileNotFoundError, match=r"gone\.task"):
            opened.detect(face)
        opened.asset = landmarker_asset.path
        assert len(opened.detect(face)) == 1


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_model_that_cannot_work_is_an_error_and_is_closed(failing_task: Path, face: np.ndarray) -> None:
    opened = MediaPipeGraph(failing_task, 1, blendshapes=False)
    with closing(opened), pytest.raises(RuntimeError, match="failed"):
        opened.detect(face)
    assert opened._landmarker is None
    gc.collect()  # nothing is left for the garbage collector to free


def test_a_result_is_read_as_mediapipes_own_objects_tell_it(landmarker_task: Path, face: np.ndarray) -> None:
    """Bit for bit, for every face: what is read out of its memory is what its Python interface gives."""
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    pair = np.concatenate([face, face], axis=1)
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(landmarker_task)), num_faces=2, output_face_blendshapes=True
    )
    with vision.FaceLandmarker.create_from_options(options) as theirs:
        told = theirs.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(pair)))
    with closing(MediaPipeGraph(landmarker_task, 2, blendshapes=True)) as ours:
        found = ours.detect(pair)
    assert len(found) == len(told.face_landmarks) == 2
    for one, points, shapes in zip(found, told.face_landmarks, told.face_blendshapes, strict=True):
        assert np.array_equal(one.points, np.array([(p.x, p.y, p.z) for p in points], np.float32))
        scores = [category.score for category in sorted(shapes, key=lambda category: category.index)]
        assert np.array_equal(one.blendshapes, np.array(scores, np.float32))
