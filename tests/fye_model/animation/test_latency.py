"""The benchmark of what live drawing takes: its arithmetic, on a model folder at tiny size."""

from __future__ import annotations

from pathlib import Path

import pytest

from fye_model.animation.pipeline import FollowYourEmojiPipeline
from tests.benchmarks.latency import main, moving_face
from tests.fye_model.animation.tiny import SIZE, describe_tiny


def test_latency_is_the_window_and_the_time_to_draw_it(
    tiny_pipe: FollowYourEmojiPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_pipe.save_pretrained(tmp_path / "model")
    describe_tiny().write(tmp_path / "model")
    rows = main([str(tmp_path / "model"), "--steps", "1", "6", "--windows", "3", "6", "--fps", "10"])
    assert [(row.window, row.steps) for row in rows] == [(3, 1), (3, 6), (6, 1), (6, 6)]
    for row in rows:
        took = row.window / row.frames_per_s
        assert row.latency_s == pytest.approx(row.window / 10 + took)
        assert row.keeps_up == (took < row.window / 10)
    assert rows[1].frames_per_s < rows[0].frames_per_s and rows[3].latency_s > rows[2].latency_s
    assert "least latency" in capsys.readouterr().out
    points = moving_face(9, SIZE, "expression_aware").points_px
    assert points.shape == (9, 478, 2) and points.min() >= 0 and points.max() < SIZE
