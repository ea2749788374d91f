"""Held-out clips are taken, driven and compared frame for frame: an oracle scores perfectly, any slip shows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from fye_model.config import EvaluationConfig, SamplingConfig
from fye_model.landmarks.geometry import FaceGeometry
from tasks.faces.detector import FaceLandmarker
from tasks.media.read import read_frames
from tasks.results.reenactment import HeldOutClip, ScoredClip, load_clip, read_held_out, score_clip


class Returns:
    """Called like a pipeline; returns frames that the test chose, and keeps what it was asked for."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames
        self.reference: Any = None
        self.landmarks: Any = None

    def __call__(self, reference: Image.Image, landmarks: np.ndarray, **_: Any) -> SimpleNamespace:
        self.reference, self.landmarks = np.asarray(reference), landmarks
        return SimpleNamespace(frames=self.frames / 255)


@pytest.fixture(scope="module")
def clip(held_out_data: Any) -> HeldOutClip:
    held_out = read_held_out(held_out_data.index)
    return load_clip(held_out, held_out.clips[0], 5, "expression_aware")


def _score(clip: HeldOutClip, result: np.ndarray, data: Any, size: int = 128) -> ScoredClip:
    with FaceLandmarker(data.landmarker.path, data.landmarker.model) as detector:
        return score_clip(Returns(result), clip, detector, SamplingConfig(), 5, size, FaceGeometry.mean_mesh())


def test_the_first_held_out_frame_is_the_reference_and_the_next_ones_drive(
    held_out_data: Any, clip: HeldOutClip
) -> None:
    video = read_frames(held_out_data.index.parent / "talk" / "clip.mp4")
    assert clip.span == (3, 9)  # of 3..10: a reference and 5 frames
    assert np.array_equal(clip.frames, video[3:9])
    asked = Returns(clip.frames[1:])
    with FaceLandmarker(held_out_data.landmarker.path, held_out_data.landmarker.model) as detector:
        scored = score_clip(asked, clip, detector, SamplingConfig(), 5, 128, FaceGeometry.mean_mesh())
    assert np.array_equal(asked.reference, video[3])
    assert np.array_equal(asked.landmarks, clip.pictures[1:])
    assert (clip.pictures.reshape(6, -1).max(axis=1) > 0).all()  # every frame's landmarks are drawn
    assert np.array_equal(scored.reenactment.truth, video[4:9])


def test_the_far_protocol_takes_its_reference_elsewhere_and_drives_with_every_frame_taken(held_out_data: Any) -> None:
    held_out = read_held_out(held_out_data.index)
    video = read_frames(held_out_data.index.parent / "talk" / "clip.mp4")
    far = load_clip(held_out, held_out.clips[0], 4, "expression_aware", EvaluationConfig(protocol="far"))
    assert far.span == (3, 7) and far.reference not in range(3, 7) and far.trained_on
    assert np.array_equal(far.frames[0], video[far.reference]) and np.array_equal(far.frames[1:], video[3:7])
    near = load_clip(held_out, held_out.clips[0], 4, "expression_aware")
    shift = [np.abs(clip.frames[0].astype(float) - clip.frames[1:]).mean() for clip in (far, near)]
    assert shift[0] > shift[1]  # repeating the far reference is further from the truth


def test_the_moving_window_may_start_later_and_stays_inside_what_is_held_out(held_out_data: Any) -> None:
    held_out = read_held_out(held_out_data.index)
    moving = load_clip(held_out, held_out.clips[0], 3, "expression_aware", EvaluationConfig(window="moving"))
    start, stop = moving.span
    assert stop - start == 4 and start >= 3 and stop <= 10 and moving.reference == start


def test_an_oracle_scores_perfectly_and_the_baseline_does_not(held_out_data: Any, clip: HeldOutClip) -> None:
    scored = _score(clip, clip.frames[1:], held_out_data)
    perfect, repeated = scored.model.summary(), scored.baseline.summary()
    assert (perfect["l1"], perfect["psnr"], perfect["landmark_error"]) == (0.0, math.inf, 0.0)
    assert perfect["ssim"] == pytest.approx(1.0)
    assert perfect["no_face_in_result"] == repeated["no_face_in_result"] == 0
    assert repeated["l1"] > 0 and repeated["ssim"] < 1 and repeated["landmark_error"] > 0


def test_repeating_the_reference_scores_exactly_as_the_baseline(held_out_data: Any, clip: HeldOutClip) -> None:
    scored = _score(clip, np.repeat(clip.frames[:1], 5, axis=0), held_out_data)
    for name, values in scored.baseline.statistics.items():
        assert scored.model.statistics[name] == pytest.approx(values, nan_ok=True, abs=1e-12), name
    assert scored.model.per_frame["landmark_error"] == scored.baseline.per_frame["landmark_error"]


def test_each_known_damage_moves_the_metric_that_should_see_it(held_out_data: Any, clip: HeldOutClip) -> None:
    truth = clip.frames[1:]
    late = _score(clip, clip.frames[:-1], held_out_data).model.summary()
    blurred = _score(clip, gaussian_filter(truth, (0, 2, 2, 0)), held_out_data).model.summary()
    mirrored = _score(clip, truth[:, :, ::-1], held_out_data).model.summary()
    shifted = _score(clip, np.roll(truth, 8, axis=2), held_out_data).model.summary()
    grey = _score(clip, np.full_like(truth, 128), held_out_data).model.summary()
    for damaged in (late, blurred, mirrored, shifted, grey):
        assert damaged["l1"] > 0 and damaged["psnr"] < 60 and damaged["ssim"] < 0.995
        assert damaged["landmark_error"] > 0
    assert late["landmark_error"] < shifted["landmark_error"] < grey["landmark_error"] == 1.0
    assert blurred["landmark_error"] < mirrored["landmark_error"]  # a blur keeps the face where it is
    assert grey["no_face_in_result"] == 5
    assert math.isnan(grey["landmark_error_found"])


def test_comparison_at_a_smaller_size_averages_both_sides_alike(held_out_data: Any, clip: HeldOutClip) -> None:
    scored = _score(clip, clip.frames[1:], held_out_data, size=64)
    assert scored.model.size == (64, 64)
    assert scored.model.summary()["l1"] == 0
    blocks = clip.frames[1].astype(float).reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(scored.reenactment.truth[0] - blocks).max() <= 1


def test_a_pipeline_that_returns_nan_or_too_few_frames_is_an_error(held_out_data: Any, clip: HeldOutClip) -> None:
    with pytest.raises(ValueError, match="NaN"):
        _score(clip, np.full(clip.frames[1:].shape, np.nan), held_out_data)
    with pytest.raises(ValueError, match="expected"):
        _score(clip, clip.frames[2:], held_out_data)


def test_what_cannot_be_evaluated_is_named(held_out_data: Any, tmp_path: Path) -> None:
    values = json.loads(held_out_data.index.read_text())
    folder = held_out_data.index.parent
    for entry in values["clips"]:
        entry.update({key: str(folder / entry[key]) for key in ("landmarks", "masks", "latents", "video")})

    def index(**changes: Any) -> Path:
        path = tmp_path / "index.json"
        clips = [{**entry, **changes} for entry in values["clips"]]
        path.write_text(json.dumps({**values, "clips": clips}))
        return path

    with pytest.raises(ValueError, match=r"none of its 2 clips has 2 held-out frames.*split\.holdout"):
        read_held_out(index(val=[0, 0]))
    with pytest.raises(ValueError, match=r"clip talk.*missing or wrong"):
        read_held_out(index(video=None))
    longer = read_held_out(index(frames=50, val=[3, 40]))
    with pytest.raises(ValueError, match=r"talk.*landmarks of 10 frames"):
        load_clip(longer, longer.clips[0], 64, "expression_aware")
