"""The metrics agree with independent implementations, see what they should see, and count what they cannot see."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.metrics import NO_FACE_ERROR, l1_error, landmark_error, psnr, ssim
from fye_model.evaluation.scores import ClipScores, score
from fye_model.evaluation.table import METRICS
from tests.fye_model.evaluation.moving_face import face, track


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """A real photograph of a face, moved a little from frame to frame: (4, 96, 96, 3)."""
    picture = data.astronaut()[10:210, 120:320]
    return np.stack([picture[y : y + 96, 40:136] for y in range(0, 40, 10)])


@pytest.fixture(scope="module")
def points() -> list[np.ndarray]:
    return [face(mouth=0.3 * frame, shift=0.01 * frame).astype(np.float32) for frame in range(4)]


def score_frames(
    result: np.ndarray, truth: np.ndarray, ours: list[np.ndarray | None], theirs: list[np.ndarray | None]
) -> ClipScores:
    """Scores of pictures whose faces the test chose."""

    return score(Comparison(Truth(truth, track(theirs, truth.shape[2])), result, track(ours, truth.shape[2])))


def _noisy(picture: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("sigma", [2.0, 25.0])
def test_ssim_and_psnr_equal_scikit_image(frames: np.ndarray, sigma: float) -> None:
    truth, result = frames[0], _noisy(frames[0], sigma)
    expected = structural_similarity(
        truth, result, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1, data_range=255
    )
    assert ssim(result, truth) == pytest.approx(expected, abs=1e-9)
    assert psnr(result, truth) == pytest.approx(peak_signal_noise_ratio(truth, result, data_range=255), abs=1e-9)


def test_flicker_is_told_apart_from_a_lasting_difference_of_the_same_size(
    frames: np.ndarray, points: list[np.ndarray]
) -> None:
    calm = frames.astype(np.int16).clip(20, 235)
    signs = np.array([1, -1, 1, -1])[:, None, None, None]
    results = {"lasting": calm + 10, "flicker": calm + 10 * signs, "still": np.repeat(calm[:1], 4, axis=0)}
    scored = {
        name: score_frames(result.astype(np.uint8), calm.astype(np.uint8), list(points), list(points)).per_frame
        for name, result in results.items()
    }
    assert scored["flicker"]["l1"] == pytest.approx(scored["lasting"]["l1"])
    assert np.isnan(scored["flicker"]["change_error"][0])
    assert scored["lasting"]["change_error"][1:] == pytest.approx([0, 0, 0])
    assert scored["flicker"]["change_error"][1:] == pytest.approx([20 / 255] * 3)
    moved = np.abs(np.diff(calm, axis=0)).mean(axis=(1, 2, 3)) / 255
    assert scored["still"]["change_error"][1:] == pytest.approx(moved)


def test_l1_of_a_constant_offset_is_that_offset() -> None:
    truth = np.full((16, 16, 3), 100, np.uint8)
    assert l1_error(truth + 51, truth) == pytest.approx(0.2)
    assert l1_error(truth, truth + 51) == pytest.approx(0.2)  # no wrap-around of unsigned bytes


def test_a_copy_of_the_truth_scores_perfectly(frames: np.ndarray, points: list[np.ndarray]) -> None:
    row = score_frames(frames, frames, points, points).summary()
    assert (row["l1"], row["ssim"], row["psnr"], row["landmark_error"]) == (0.0, pytest.approx(1.0), math.inf, 0.0)
    assert (row["frames"], row["no_face_in_result"], row["no_face_in_truth"]) == (4, 0, 0)


def test_stronger_damage_scores_worse(frames: np.ndarray, points: list[np.ndarray]) -> None:
    def scores(damaged: np.ndarray) -> dict[str, float]:
        return score_frames(damaged, frames, points, points).summary()

    def blurred(sigma: float) -> np.ndarray:
        return gaussian_filter(frames, (0, sigma, sigma, 0))

    for weak, strong in [
        (blurred(1), blurred(3)),
        (_noisy(frames, 5), _noisy(frames, 20)),
        (np.roll(frames, 1, axis=2), np.roll(frames, 4, axis=2)),
        (frames // 8 * 8, frames // 64 * 64),
    ]:
        mild, severe = scores(weak), scores(strong)
        assert 0 < mild["l1"] < severe["l1"]
        assert mild["psnr"] > severe["psnr"]
        assert 1 > mild["ssim"] > severe["ssim"]


def test_repeating_the_first_frame_scores_worse_than_the_truth(frames: np.ndarray, points: list[np.ndarray]) -> None:
    repeated = np.repeat(frames[:1], len(frames), axis=0)
    row = score_frames(repeated, frames, [points[0]] * 4, points).per_frame
    assert row["l1"][0] == 0 and min(row["l1"][1:]) > 0
    assert row["landmark_error"][0] == 0 and min(row["landmark_error"][1:]) > 0


def test_landmark_error_is_in_units_of_the_interocular_distance() -> None:
    truth = np.full((478, 2), 0.5)
    truth[33], truth[263] = (0.25, 0.5), (0.75, 0.5)  # 100 px apart at width 200
    moved = truth + np.array((0.1, 0.0))  # 20 px
    assert landmark_error(moved, truth, 100, 200) == pytest.approx(0.2)
    moved = truth + np.array((0.0, 0.1))  # 10 px: height is half the width
    assert landmark_error(moved, truth, 100, 200) == pytest.approx(0.1)


def test_a_frame_without_a_face_is_counted_and_costs_its_declared_error(
    frames: np.ndarray, points: list[np.ndarray]
) -> None:
    scores = score_frames(frames, frames, [points[0], None, points[2], points[3]], points)
    row = scores.summary()
    assert row["no_face_in_result"] == 1
    assert row["landmark_error"] == pytest.approx(NO_FACE_ERROR / 4)
    assert row["landmark_error_found"] == 0.0


def test_a_frame_whose_truth_has_no_face_is_counted_and_not_compared(
    frames: np.ndarray, points: list[np.ndarray]
) -> None:
    moved = [p + 0.01 for p in points]
    full = score_frames(frames, frames, moved, points)
    row = score_frames(frames, frames, [None, *moved[1:]], [None, *points[1:]]).summary()
    assert (row["no_face_in_truth"], row["no_face_in_result"]) == (1, 0)
    assert row["landmark_error"] == pytest.approx(np.mean(full.per_frame["landmark_error"][1:]))
    nothing = score_frames(frames, frames, points, [None] * 4).summary()
    assert math.isnan(nothing["landmark_error"])
    assert nothing["no_face_in_truth"] == 4


def test_scores_do_not_depend_on_what_else_is_in_the_batch(frames: np.ndarray, points: list[np.ndarray]) -> None:
    damaged = _noisy(frames, 10)
    moved = [p + 0.01 for p in points]
    together = score_frames(damaged, frames, moved, points).per_frame
    alone = score_frames(damaged[2:3], frames[2:3], moved[2:3], points[2:3]).per_frame
    names = ("l1", "ssim", "psnr", "landmark_error", "landmark_ap", "l1_face", "ssim_rest", "apd_rotation")
    assert [alone[name][0] for name in names] == [together[name][2] for name in names]


def test_masks_part_the_picture(frames: np.ndarray, points: list[np.ndarray]) -> None:
    damaged = frames.copy()
    damaged[:, :4] = 255 - damaged[:, :4]  # above the face
    row = score_frames(damaged, frames, points, points).summary()
    assert row["l1_face"] == row["l1_expression"] == 0 < row["l1"] < row["l1_rest"]
    assert row["ssim_face"] == pytest.approx(1.0) and row["psnr_face"] == math.inf


def test_every_row_of_the_table_can_be_told_apart_and_explained() -> None:
    assert len({metric.name for metric in METRICS}) == len({metric.column for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert (metric.measure is None) != (metric.frames is None), metric.name
        assert metric.text and metric.failures and metric.why_not and metric.about and metric.label, metric.name


def test_pictures_that_cannot_be_compared_are_refused(frames: np.ndarray, points: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        l1_error(frames[0] / 255, frames[0])
    with pytest.raises(ValueError, match="equal stacks"):
        score_frames(frames[:3], frames, points[:3], points)
    with pytest.raises(ValueError, match="4 frames need as many landmark entries"):
        score_frames(frames, frames, points[:3], points)
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(frames[0, :8, :8], frames[0, :8, :8])
