"""Clips are scored by how their sound fits their lips, from files to rows, by weights in the published form."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from fye_model.config import Recipe
from fye_model.files import file_digest
from fye_model.landmarks.table import LandmarkSequence, write_landmarks
from fye_model.lip_sync.settings import LipSyncConfig
from fye_model.lip_sync.sound import RATE_HZ
from tasks.engine.items import NOTHING
from tasks.lip_sync import LIPSYNC, LipSyncRow, at_rate, check_weights
from tasks.media.write import write_video
from tasks.workspace.recipes import load_recipe
from tests.fye_model.lip_sync.talking import FACE, FPS, SIDE, late, talk, taught, widened
from tests.tasks.support import work_on

FRAMES = 60


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> LipSyncConfig:
    """What was learned of drawn lips, in a file as the published one is: of its names, sizes and old format."""
    path = tmp_path_factory.mktemp("weights") / "syncnet_v2.model"
    state = {name: values for name, values in widened(taught()).items() if not name.endswith("num_batches_tracked")}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return LipSyncConfig(weights=path, sha256=file_digest(path))


def make_clip(
    folder: Path, pictures: list[np.ndarray], samples: np.ndarray | None, fps: float = FPS
) -> dict[str, Path]:
    """A clip's video and landmark table; its sound at 44.1 kHz in two channels."""
    folder.mkdir()
    sound = None
    if samples is not None:
        times = np.arange(len(samples) * 44_100 // RATE_HZ) / 44_100
        fine = np.interp(times, np.arange(len(samples)) / RATE_HZ, samples).astype(np.int16)
        sound = folder / "sound.wav"
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(44_100)
            file.writeframes(np.repeat(fine, 2).tobytes())
    write_video(folder / "clip.mp4", pictures, fps, audio=sound)
    count = len(pictures)
    points = np.empty((count, 478, 3), np.float32)
    points[:] = (0.4, 0.5, 0.0)
    points[:, 0, :2], points[:, 1, :2] = np.array(FACE[:2]) / SIDE, np.array(FACE[2:]) / SIDE
    valid = np.arange(count) % 9 > 0
    points[~valid] = np.nan
    none, times = np.zeros(count, bool), np.arange(count) / fps
    table = LandmarkSequence(points, None, None, valid, none, times, fps, SIDE, SIDE, "drawn:1")
    write_landmarks(table, folder / "landmarks.parquet", {"geometry": "mean_mesh"})
    return {"video": folder / "clip.mp4", "landmarks": folder / "landmarks.parquet"}


def score(settings: LipSyncConfig, files: dict[str, Path]) -> LipSyncRow:
    out = files["video"].parent / "out"
    return work_on(LIPSYNC, settings, files, NOTHING, out)


@pytest.mark.slow
def test_a_late_sound_is_found_to_the_frame_at_whatever_rates_of_pictures_and_sound(
    tmp_path: Path, weights: LipSyncConfig
) -> None:
    pictures, samples = talk(2, FRAMES)
    doubled = [picture for picture in pictures for _ in range(2)]
    late_by_six = score(weights, make_clip(tmp_path / "late", doubled, late(samples, 6), fps=50))
    assert late_by_six.offset_s == -0.24
    other = score(weights, make_clip(tmp_path / "other", pictures, talk(60, FRAMES)[1]))
    assert late_by_six.confidence is not None and other.confidence is not None
    assert late_by_six.confidence > 2 * other.confidence


@pytest.mark.slow
def test_a_clip_without_sound_with_silence_or_too_short_is_not_judged(tmp_path: Path, weights: LipSyncConfig) -> None:
    pictures, samples = talk(2, FRAMES)
    for name, shown, heard in (
        ("mute", pictures, None),
        ("silent", pictures, np.zeros_like(samples)),
        ("short", pictures[:30], samples),
        ("breaks_off", pictures, samples[: RATE_HZ // 2]),
    ):
        assert score(weights, make_clip(tmp_path / name, shown, heard)) == LipSyncRow(offset_s=None, confidence=None)


@pytest.mark.parametrize("fps", [25.0, 12.5, 50.0])
def test_no_frame_is_lost_to_rounding_whatever_a_clips_length(fps: float) -> None:
    for frames in range(36, 500):
        shown = at_rate(frames, fps, 25)
        assert len(shown) == int(frames * 2) // int(fps / 12.5) and len(set(shown)) == min(frames, len(shown))


def test_weights_that_are_not_there_or_not_the_right_ones_are_told_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lip_sync\.weights: .*none is no file; .* is from https://www\.robots"):
        check_weights(LipSyncConfig(weights=tmp_path / "none"))
    (tmp_path / "other.model").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"has the sha256 [0-9a-f]{64}, expected 961e8696.*or say lip_sync\.sha256"):
        check_weights(LipSyncConfig(weights=tmp_path / "other.model"))
    check_weights(LipSyncConfig())
    with pytest.raises(ValueError, match=r"does nothing until lip_sync\.weights"):
        check_weights(LipSyncConfig(), asked=True)


def test_thresholds_without_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"judge scores that nothing measures: set lip_sync\.weights"):
        load_recipe("paper", ["screening.min_sync_confidence=3"])
    found = load_recipe("paper", ["screening.max_sync_offset_s=0.08", "lip_sync.weights=/w/syncnet_v2.model"])
    assert found.lip_sync.weights == Path("/w/syncnet_v2.model")
    assert Recipe().lip_sync.weights is None
