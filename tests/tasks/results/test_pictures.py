"""Strips and videos show the right picture in the right place, and a file is whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fye_model.evaluation.reenact import Reenactment
from tasks.results.pictures import save_png, side_by_side, spread_frames, strip


def test_strip_puts_the_right_pictures_in_the_right_columns() -> None:
    def plain(value: int) -> np.ndarray:
        return np.stack([np.full((20, 20, 3), value + i, np.uint8) for i in range(3)])

    pair = Reenactment(plain(10)[0], plain(60), plain(120), plain(180))
    picture = np.asarray(strip(pair, [0, 2]))
    rows, columns = [22 + 10, 22 + 24 + 10], [10, 34, 58, 82]
    assert [[int(picture[y, x, 0]) for x in columns] for y in rows] == [[10, 60, 120, 180], [10, 62, 122, 182]]
    frames = list(side_by_side(pair))
    assert [int(frames[1][5, x, 0]) for x in (5, 25, 45, 65)] == [10, 61, 121, 181]


def test_a_failed_write_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    save_png(Image.new("RGB", (4, 4), "red"), path)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_png(Image.new("RGB", (4, 4), "blue"), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_spread_frames_reach_the_end_and_never_repeat() -> None:
    assert spread_frames(9, 5) == [0, 2, 4, 6, 8]
    assert spread_frames(3, 5) == [0, 1, 2]
    assert spread_frames(1, 5) == [0]
