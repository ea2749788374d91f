"""A run that ends early leaves its finished windows, whole; the next one goes on from them and clears up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from fye_model.animation.pipeline import FollowYourEmojiPipeline
from fye_model.devices import choose_device
from fye_model.files import whole_file
from tasks.animation.kept import folder_of
from tasks.animation.progress import Progress, Standing, seconds
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.animate import AnimateRequest, animate, load_for_animation
from tasks.media.read import read_frames
from tests.tasks.performing import FRAMES, QUICK

WINDOWS = 4  # of 9 frames in windows of 4: keyframes and three spans


class PulledPlugError(RuntimeError):
    """The run ends here."""


@contextmanager
def counted(pipeline: FollowYourEmojiPipeline, most: int | None = None) -> Iterator[list[int]]:
    """Counts calls of the denoiser; after `most` of them it fails."""
    calls: list[int] = []

    def hook(*_: object) -> None:
        if most is not None and len(calls) == most:
            raise PulledPlugError
        calls.append(1)

    handle = pipeline.denoiser.register_forward_pre_hook(hook)
    try:
        yield calls
    finally:
        handle.remove()


@pytest.fixture
def request_of(model: Path, driver: Path, portrait: Path, tmp_path: Path):
    def build(**changes: object) -> AnimateRequest:
        values = {
            "portrait": portrait,
            "driving": driver,
            "model": model,
            "output": tmp_path / "k.mp4",
            "device": "cpu",
        }
        return AnimateRequest.model_validate({**values, "sampling": QUICK, **changes})

    return build


@pytest.fixture
def pipeline(model: Path) -> FollowYourEmojiPipeline:
    return load_for_animation(model, choose_device("cpu"))


def test_an_interrupted_run_goes_on_and_ends_as_one_that_was_not(
    request_of, pipeline: FollowYourEmojiPipeline, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    with counted(pipeline) as all_calls:
        animate(request_of(output=tmp_path / "whole.mp4"), landmarker_asset, lambda line: None, pipeline)
    lines: list[str] = []
    with counted(pipeline, most=len(all_calls) // 2), pytest.raises(PulledPlugError):
        animate(request_of(), landmarker_asset, lines.append, pipeline)
    kept = list(folder_of(tmp_path / "k.mp4").rglob("*.window"))
    assert len(kept) == WINDOWS // 2 and not (tmp_path / "k.mp4").exists()
    with counted(pipeline) as rest:
        result = animate(request_of(), landmarker_asset, lines.append, pipeline)
    assert len(rest) == len(all_calls) - len(all_calls) // 2
    assert any("going on from 50%" in line for line in lines)
    np.testing.assert_array_equal(read_frames(result.output), read_frames(tmp_path / "whole.mp4"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.mp4", "whole.mp4"], "nothing is left over"


def test_a_damaged_window_is_made_again_and_another_request_starts_anew(
    request_of, pipeline: FollowYourEmojiPipeline, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    lines: list[str] = []

    def run(most: int | None, **changes: object) -> int:
        with counted(pipeline, most) as calls, suppress(PulledPlugError):
            animate(request_of(**changes), landmarker_asset, lines.append, pipeline)
        return len(calls)

    run(3)
    victim = sorted(folder_of(tmp_path / "k.mp4").rglob("*.window"))[0]
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    assert run(2) == 2, "one damaged, one never made: two to make"
    assert any("damaged; these frames are made again" in line for line in lines)
    run(2, seed=5)
    assert len(list(folder_of(tmp_path / "k.mp4").iterdir())) == 1, "of the other request nothing is kept"


def test_what_a_killed_run_left_half_written_is_removed(
    request_of, pipeline: FollowYourEmojiPipeline, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    if (child := os.fork()) == 0:  # dies while it writes
        with whole_file(tmp_path / "k.mp4") as temporary:
            temporary.write_bytes(b"half")
            os._exit(0)
    os.waitpid(child, 0)
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    animate(request_of(), landmarker_asset, lambda line: None, pipeline)
    assert [path.name for path in tmp_path.iterdir()] == ["k.mp4"]


def test_progress_is_one_short_line_with_the_time_that_is_left() -> None:
    now, lines = [0.0], []
    progress = Progress(FRAMES, 40, lines.append, clock=lambda: now[0])
    progress.skip(20)
    for step in range(20):
        now[0] += 3
        progress.step()
        if step % 3 == 0:
            progress.frame()
    assert lines[0] == "going on from 50%, which an earlier run has done"
    assert lines[1] == "55%, 1 of 9 frames, 54 s left" and len(lines) == 11
    assert all(len(line) < 60 for line in lines)
    standing: list[Standing] = []
    progress = Progress(FRAMES, 4, lines.append, watch=standing.append)
    for _ in range(6):  # a window was drawn again
        progress.step()
    assert (standing[-1].part, standing[-1].left_s) == (1, 0)
    assert [seconds(value) for value in (3, 200, 3600, 7500)] == ["3 s", "3 min 20 s", "1 h 0 min", "2 h 5 min"]
