"""The landmark worker on frames of a face: who is followed, which gaps are bridged, what is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fye_model.config import LandmarkConfig, Runtime
from fye_model.landmarks.table import read_landmarks, read_masks
from tasks.engine.items import Given, Quarantine
from tasks.engine.stage import Context
from tasks.faces.follow import FaceTracker, load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.landmarks import LandmarkFacts, LandmarkRow, LandmarkWorker
from tasks.media.read import read_frames
from tasks.media.write import write_video

SIZE = 256


@pytest.fixture(scope="module")
def asset(landmarker_asset: LandmarkerAsset) -> LandmarkerAsset:
    return landmarker_asset


def open_worker(asset: LandmarkerAsset, **settings: int) -> LandmarkWorker:
    return LandmarkWorker(LandmarkConfig(**settings), Context(Runtime(), "cpu", asset))


@pytest.fixture(scope="module")
def worker(asset: LandmarkerAsset) -> Iterator[LandmarkWorker]:
    with open_worker(asset, max_gap_frames=3) as opened:
        yield opened


@pytest.fixture(scope="module")
def frames(sample_clips: list[Path]) -> np.ndarray:
    """26 frames of a talking head, (26, 256, 256, 3)."""
    whole = read_frames(sample_clips[0], slice(0, 26))
    return np.stack([cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for frame in whole])


def run(
    worker: LandmarkWorker, frames: np.ndarray, folder: Path, rows: int | None = None, factor: int = 8
) -> LandmarkRow:
    folder.mkdir(exist_ok=True)
    write_video(folder / "clip.mp4", frames, 25.0, 4)
    times = 1.0 + np.arange(rows or len(frames)) / 25.0
    pq.write_table(pa.table({"time_s": times}), folder / "frames.parquet")
    out = folder / "out"
    out.mkdir(exist_ok=True)
    files = {"video": folder / "clip.mp4", "frames": folder / "frames.parquet"}
    return worker.process(Given("clip", files, LandmarkFacts(factor=factor), out))


def test_a_clip_gives_landmarks_masks_and_a_repeatable_row(
    worker: LandmarkWorker, asset: LandmarkerAsset, frames: np.ndarray, tmp_path: Path
) -> None:
    row = run(worker, frames, tmp_path / "first")
    sequence = read_landmarks(tmp_path / "first" / "out" / "landmarks.parquet")
    expression, face = read_masks(tmp_path / "first" / "out" / "masks.parquet")
    assert sequence.model == asset.model and sequence.valid.all() and not sequence.interpolated.any()
    assert sequence.matrix is not None and (sequence.blendshapes is not None) == asset.has_matrix
    np.testing.assert_allclose(sequence.time_s, 1.0 + np.arange(26) / 25.0)
    assert sequence.fps == 25.0
    assert expression.shape == face.shape == (26, SIZE // 8, SIZE // 8)
    # the face mask lies on the face, and brows, eyes and lips inside it
    grid = (np.arange(SIZE // 8) + 0.5) * 8
    centre_x = (face.sum(1) * grid).sum(1) / face.sum((1, 2))
    np.testing.assert_allclose(centre_x, sequence.pixels()[:, [1, 152, 10], 0].mean(1), atol=6)
    assert 0.05 < expression.sum() / face.sum() < 0.2 and (expression * (face == 0)).sum() < 0.03 * expression.sum()

    assert row.detection_rate == row.completeness == 1.0 and row.longest_gap == 0
    assert 0.4 < row.face_fraction < 0.7 and row.sharpness > 5 and 90 < row.brightness < 190
    assert -20 < row.yaw[0] < row.yaw[1] < 20
    again = run(worker, frames, tmp_path / "second")
    assert row == again
    for name in ("landmarks.parquet", "masks.parquet"):
        first, second = (tmp_path / folder / "out" / name for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.usefixtures("landmarker_task")  # it needs the model with a face geometry
def test_the_pose_is_the_one_of_mediapipe(
    worker: LandmarkWorker, frames: np.ndarray, tmp_path: Path, landmarker_task: Path
) -> None:
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    run(worker, frames[:3], tmp_path)
    sequence = read_landmarks(tmp_path / "out" / "landmarks.parquet")
    decoded = read_frames(tmp_path / "clip.mp4")
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(landmarker_task)), output_facial_transformation_matrixes=True
    )
    with vision.FaceLandmarker.create_from_options(options) as theirs:
        pictures = [mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame)) for frame in decoded]
        expected = [theirs.detect(picture).facial_transformation_matrixes[0] for picture in pictures]
    assert sequence.matrix is not None
    np.testing.assert_allclose(sequence.matrix, np.stack(expected), atol=5e-3)


def test_short_gaps_are_bridged_and_flagged_and_long_ones_stay_invalid(
    worker: LandmarkWorker, frames: np.ndarray, tmp_path: Path
) -> None:
    holed = frames.copy()
    hidden = [0, 5, 6, 7, *range(12, 17), 25]  # the start, 3 frames, 5 frames, the end
    holed[hidden] = 110
    row = run(worker, holed, tmp_path)
    sequence = read_landmarks(tmp_path / "out" / "landmarks.parquet")
    assert np.flatnonzero(sequence.interpolated).tolist() == [5, 6, 7]
    assert np.flatnonzero(~sequence.valid).tolist() == [0, *range(12, 17), 25]
    np.testing.assert_allclose(
        sequence.points[6], (sequence.points[4] + sequence.points[8]) / 2, atol=1e-6, equal_nan=False
    )
    assert sequence.matrix is not None and np.isfinite(sequence.matrix[5:8]).all()
    assert sequence.blendshapes is None or np.isfinite(sequence.blendshapes[5:8]).all()
    assert np.isnan(sequence.points[12:17]).all() and np.isnan(sequence.matrix[0]).all()
    expression, face = read_masks(tmp_path / "out" / "masks.parquet")
    assert not face[14].any() and not expression[14].any() and face[6].any()
    assert (row.interpolated, row.longest_gap, row.valid_frames) == (3, 5, 19)
    assert (row.detection_rate, row.completeness) == (round(16 / 26, 5), round(19 / 26, 5))


def test_the_same_person_is_followed_when_a_larger_face_walks_in(asset: LandmarkerAsset, frames: np.ndarray) -> None:
    with open_worker(asset) as worker:
        tracker = FaceTracker(worker.landmarker, max_gap_frames=2)
        alone = np.full((300, 600, 3), 110, np.uint8)
        alone[20 : 20 + SIZE, 10 : 10 + SIZE] = frames[0]
        both = alone.copy()
        both[0:300, 300:600] = cv2.resize(frames[0], (300, 300))
        gone = both.copy()
        gone[:, :300] = 110
        first = tracker.next(alone)
        assert first is not None and first.box[2] < 0.5
        largest = worker.landmarker.detect(both)[0]
        assert largest.box[0] > 0.5  # taken alone, the newcomer would win
        second = tracker.next(both)
        assert second is not None and second.box[2] < 0.5
        # hidden for a short while: nobody else is taken; gone for longer: the one who is there
        after = [tracker.next(gone) for _ in range(5)]
        assert after[:3] == [None] * 3
        assert after[4] is not None and after[4].box[0] > 0.5


def test_a_clip_without_a_face_is_set_aside(worker: LandmarkWorker, tmp_path: Path) -> None:
    with pytest.raises(Quarantine, match="clip: none of 5 frames shows a face") as caught:
        run(worker, np.full((5, SIZE, SIZE, 3), 90, np.uint8), tmp_path)
    assert caught.value.reason == "no_face"


def test_frames_that_do_not_match_their_times_are_an_error(
    worker: LandmarkWorker, frames: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="5 frames decoded, 6 rows"):
        run(worker, frames[:5], tmp_path, rows=6)


@pytest.mark.usefixtures("landmarker_task")  # to be held against
def test_the_fallback_model_gets_its_pose_from_the_mean_face(asset: LandmarkerAsset, frames: np.ndarray) -> None:
    other = LandmarkerAsset(asset.path, "attention_mesh:e06a804e", asset.sha256, has_matrix=False, source="test")
    with open_worker(asset) as worker:
        points = worker.landmarker.detect(frames[0])[0].points[None]
    usual = load_geometry(asset).estimate(points, SIZE, SIZE)[1]
    mean = load_geometry(other).estimate(points, SIZE, SIZE)[1]
    assert np.abs(usual - mean).max() > 0
    rotation = usual[0, :3, :3] @ mean[0, :3, :3].T
    cosine = (np.trace(rotation) / np.cbrt(np.linalg.det(rotation)) - 1) / 2
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))) < 8
