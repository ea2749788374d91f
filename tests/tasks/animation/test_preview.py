"""A look before the long run: the liveliest two seconds in few steps, a strip, and what the run would make and take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fye_model.config import SamplingConfig, StepCacheConfig
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.animate import AnimateRequest, plan, preview
from tasks.media.read import probe, read_frames
from tests.tasks.performing import SIZE
from tests.tasks.videos import click, click_time, encode


@pytest.fixture
def request_of(model: Path, portrait: Path, sample_clips: list[Path], tmp_path: Path) -> AnimateRequest:
    """A driver of 80 frames at 25 a second that stands still but for its last 30 frames; a click at 2.4 s."""
    frames = read_frames(sample_clips[0])
    frames = np.concatenate([np.repeat(frames[:1], 50, axis=0), frames[:30]])
    encode(tmp_path / "long.mp4", frames, sound=(click(3.2, 2.4), 0.0))
    return AnimateRequest(
        portrait=portrait,
        driving=tmp_path / "long.mp4",
        model=model,
        output=tmp_path / "out" / "x.mp4",
        sampling=SamplingConfig(steps=40, window=16, guidance_scale=1.0),
        device="cpu",
    )


def test_a_preview_shows_where_most_moves_with_its_sound_and_what_is_drawn(
    request_of: AnimateRequest, landmarker_asset: LandmarkerAsset
) -> None:
    clip, picture = preview(request_of, landmarker_asset, lambda line: None)
    assert probe(clip).has_audio and len(read_frames(clip)) == 50
    # the last two seconds: from frame 30 on, that is from 1.2 s
    assert click_time(clip) == pytest.approx(2.4 - 1.2, abs=0.06)
    with Image.open(picture) as strip:
        assert strip.size == (5 * 256, 3 * 256)
        rows = np.asarray(strip).reshape(3, 256, 5, 256, 3)
    assert rows[0].std() > 20 and (rows[1].max(axis=-1) > 190).any(), "driver and drawn lines are seen"
    assert sorted(path.name for path in clip.parent.iterdir()) == ["x.preview.mp4", "x.preview.png"]


def test_a_plan_says_what_will_be_made_and_how_long_it_takes(
    request_of: AnimateRequest, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    what, how = plan(request_of, landmarker_asset, lambda line: None)
    assert what == f"80 frames of {SIZE}x{SIZE} at 25 a second (3 s), with the driver's sound"
    assert how.startswith("40 steps of ") and "on this machine" in how
    few = SamplingConfig(steps=40, window=16, guidance_scale=1.0, step_cache=StepCacheConfig(computed_steps=10))
    _, fast = plan(request_of.model_copy(update={"sampling": few}), landmarker_asset, lambda line: None)
    assert fast.startswith("40 steps, 10 of them computed, of ")
    assert not list((tmp_path / "out").iterdir())
    whole, _ = plan(request_of.model_copy(update={"paste_back": True}), landmarker_asset, lambda line: None)
    assert whole.startswith("80 frames of 512x512")
