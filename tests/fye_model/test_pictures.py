"""Frames as WebP in Parquet: lossless is exact, lossy is near and small, and a damaged file says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fye_model.pictures import read_pictures, write_pictures


@pytest.fixture
def frames() -> np.ndarray:
    x, y = np.meshgrid(np.arange(48), np.arange(32))
    return np.stack([np.stack([x * 5, y * 7, (x + y + n) % 200], -1).astype(np.uint8) for n in range(3)])


def test_lossless_pictures_come_back_as_they_were(frames: np.ndarray, tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", frames, quality=None)
    np.testing.assert_array_equal(read_pictures(tmp_path / "a"), frames)
    write_pictures(tmp_path / "b", frames, quality=None)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_lossy_pictures_are_near(frames: np.ndarray, tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", frames, quality=90)
    assert 0 < np.abs(read_pictures(tmp_path / "a").astype(int) - frames).mean() < 5


def test_a_damaged_file_is_named(frames: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "frames.parquet"
    write_pictures(path, frames, quality=None)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"frames\.parquet: not a readable file of pictures"):
        read_pictures(path)
    with pytest.raises(ValueError, match=r"none\.parquet"):
        read_pictures(tmp_path / "none.parquet")
