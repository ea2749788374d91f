"""Jitter goes, blinks stay: same moment, same depth. Gaps, short runs and frame rates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fye_model.landmarks import topology
from fye_model.landmarks.smoothing import CausalOneEuro, smooth, smooth_sequence

FPS = 25.0
BLINK = (0.35, 0.85, 1.0, 0.6, 0.25)  # closed fraction: a fast closing, a slower opening
BLINKS_AT = (12, 37, 62, 87)
UPPER_LIDS, LOWER_LIDS = (159, 386), (145, 374)
STILL = [index for index in range(468) if index not in UPPER_LIDS]


def clip(turning) -> tuple[np.ndarray, np.ndarray, float]:
    """100 frames of a swaying, blinking face, clean and with 0.35% IOD of jitter, (100, 478, 3), and the IOD."""
    base = turning.points[4].astype(float)
    iod = float(topology.interocular_distance(base[None, :, :2])[0])
    clean = np.repeat(base[None], 100, axis=0)
    clean[..., 0] += 0.21 * iod * np.sin(2 * np.pi * np.arange(100) / FPS / 3)[:, None]
    closed = np.zeros(100)
    for at in BLINKS_AT:
        closed[at - 2 : at + 3] = BLINK
    for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
        clean[:, upper] += 0.95 * closed[:, None] * (base[lower] - base[upper])
    jitter = np.random.default_rng(0).normal(size=clean.shape) * 0.0035 * iod / np.sqrt(2)
    return clean, clean + jitter, iod


def opening(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, UPPER_LIDS[0], :2] - points[:, LOWER_LIDS[0], :2], axis=1)


def depth_of_blinks(points: np.ndarray) -> float:
    lid = opening(points)
    return np.median(lid) - np.mean([lid[at - 1 : at + 2].min() for at in BLINKS_AT])


def lag_frames(points: np.ndarray, clean: np.ndarray) -> float:
    """Delay that explains the smoothed lid best as a late copy of the clean one."""
    times, delays = np.arange(len(points)), np.linspace(-1, 1, 81)
    lid, true = opening(points), opening(clean)
    misfit = [np.sum((lid[2:-2] - np.interp(times[2:-2] - delay, times, true)) ** 2) for delay in delays]
    return float(delays[np.argmin(misfit)])


@pytest.mark.parametrize(("method", "depth_kept", "jitter_left"), [("one_euro", 0.95, 0.55), ("savgol", 0.85, 0.45)])
def test_jitter_goes_and_blinks_keep_time_and_depth(turning, method, depth_kept: float, jitter_left: float) -> None:
    clean, noisy, _ = clip(turning)
    smoothed = smooth(noisy, FPS, method)

    def roughness(points: np.ndarray) -> float:
        return np.sqrt(np.mean(np.diff((points - clean)[:, STILL], 2, axis=0) ** 2))

    def error(points: np.ndarray) -> float:
        return np.sqrt(np.mean((points - clean)[:, STILL] ** 2))

    assert roughness(smoothed) < jitter_left * roughness(noisy)
    assert error(smoothed) < 0.8 * error(noisy)
    assert abs(lag_frames(smoothed, clean)) < 0.1
    for before, after in ((clean, smooth(clean, FPS, method)), (noisy, smoothed)):
        assert depth_of_blinks(after) > depth_kept * depth_of_blinks(before)


def test_a_causal_filter_would_fail_these_bounds(turning) -> None:
    """The bounds above mean something: a plain low-pass with the same effect on jitter lags."""
    clean, noisy, _ = clip(turning)
    late = noisy.copy()
    for frame in range(1, 100):
        late[frame] = late[frame - 1] + 0.6 * (noisy[frame] - late[frame - 1])
    assert lag_frames(late, clean) > 0.3
    assert depth_of_blinks(late) < 0.95 * depth_of_blinks(noisy)


@pytest.mark.parametrize("method", ["one_euro", "savgol"])
def test_time_reversed_input_gives_time_reversed_output(turning, method) -> None:
    _, noisy, _ = clip(turning)
    np.testing.assert_allclose(smooth(noisy[::-1], FPS, method)[::-1], smooth(noisy, FPS, method), atol=1e-9)


def test_real_clips_get_calmer_and_stay_near(detected) -> None:
    sequence = detected["d10"]
    sequence = replace(sequence, fps=25.0)
    for method in ("one_euro", "savgol"):
        calm = smooth_sequence(sequence, method)
        iod = topology.interocular_distance(sequence.pixels())[:, None]
        moved = np.linalg.norm(calm.pixels() - sequence.pixels(), axis=2) / iod
        assert 1e-4 < np.median(moved) < 0.02
        assert calm.points.dtype == np.float32 and calm.blendshapes is sequence.blendshapes


@pytest.mark.parametrize("method", ["one_euro", "savgol"])
def test_gaps_are_not_smoothed_over(turning, method) -> None:
    _, noisy, _ = clip(turning)
    noisy[40:44] = np.nan
    smoothed = smooth(noisy, FPS, method)
    assert np.isnan(smoothed[40:44]).all()
    np.testing.assert_array_equal(smoothed[:40], smooth(noisy[:40], FPS, method))
    np.testing.assert_array_equal(smoothed[44:], smooth(noisy[44:], FPS, method))


@pytest.mark.parametrize("method", ["none", "one_euro", "savgol"])
@pytest.mark.parametrize("frames", [0, 1, 2, 4])
def test_short_clips_pass(turning, method, frames: int) -> None:
    _, noisy, _ = clip(turning)
    smoothed = smooth(noisy[:frames], FPS, method)
    assert smoothed.shape == (frames, 478, 3) and np.isfinite(smoothed).all()


@pytest.mark.parametrize("method", ["one_euro", "savgol"])
def test_a_still_face_is_left_as_it_is_and_input_is_never_changed(turning, method) -> None:
    still = np.repeat(turning.points[4:5].astype(float), 12, axis=0)
    np.testing.assert_allclose(smooth(still, FPS, method), still, atol=1e-9)
    _, noisy, _ = clip(turning)
    before = noisy.copy()
    smooth(noisy, FPS, method)
    np.testing.assert_array_equal(noisy, before)


@pytest.mark.parametrize("method", ["one_euro", "savgol"])
def test_the_frames_size_and_distance_do_not_matter(turning, method) -> None:
    _, noisy, _ = clip(turning)
    np.testing.assert_allclose(smooth(noisy * 300, FPS, method) / 300, smooth(noisy, FPS, method), atol=1e-9)


def test_none_changes_nothing_and_unknown_methods_are_named(turning) -> None:
    assert smooth_sequence(turning, "none") is turning
    with pytest.raises(ValueError, match="one_euro, savgol"):
        smooth(turning.points, FPS, "kalman")


def live(points: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Frames through the causal filter, one by one."""
    filtered = CausalOneEuro()
    return np.stack([filtered(frame * scale, number / FPS) for number, frame in enumerate(points)])


def test_live_jitter_is_halved_and_blinks_keep_their_depth_and_hardly_lag(turning) -> None:
    clean, noisy, _ = clip(turning)
    smoothed = live(noisy)
    roughness = [np.sqrt(np.mean(np.diff((one - clean)[:, STILL], 2, axis=0) ** 2)) for one in (smoothed, noisy)]
    assert roughness[0] < 0.6 * roughness[1]
    assert lag_frames(smoothed, clean) < 0.2
    for before, after in ((clean, live(clean)), (noisy, smoothed)):
        assert depth_of_blinks(after) > 0.93 * depth_of_blinks(before)
    np.testing.assert_allclose(live(noisy, 300) / 300, smoothed, atol=1e-9)
    np.testing.assert_array_equal(live(noisy[:40]), smoothed[:40], "what comes later changes nothing")


def test_live_after_a_gap_the_filter_begins_anew_and_times_must_rise(turning) -> None:
    _, noisy, _ = clip(turning)
    filtered = CausalOneEuro()
    filtered(noisy[0], 0.0)
    filtered.forget()
    np.testing.assert_array_equal(filtered(noisy[9], 0.0), noisy[9])
    with pytest.raises(ValueError, match="not behind the last"):
        filtered(noisy[10], 0.0)
