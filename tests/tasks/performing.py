"""Fixtures to animate with: a tiny model of random weights, a portrait, a driver, and a function that animates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fye_model.config import SamplingConfig
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.animate import AnimateRequest, AnimateResult, animate
from tasks.media.read import read_frames
from tests.fye_model.animation.tiny import build_tiny, describe_tiny
from tests.tasks.videos import click, encode

SIZE = 64
QUICK = SamplingConfig(steps=1, window=4, smoothing="none")
FRAMES = 9
MODEL = describe_tiny(size=SIZE)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as selection writes it."""
    folder = tmp_path_factory.mktemp("models") / "model"
    pipeline = build_tiny()
    pipeline.description = MODEL
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def driver(sample_clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few frames at 25 fps, with sound; frame 4 shows no face."""
    frames = read_frames(sample_clips[0], slice(0, FRAMES))
    frames = np.stack([np.asarray(Image.fromarray(frame).resize((256, 256))) for frame in frames])
    frames[4] = 127
    return encode(tmp_path_factory.mktemp("drivers") / "driver.mp4", frames, sound=(click(FRAMES / 25, 0.2), 0.0))


@pytest.fixture
def perform(model: Path, driver: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path) -> Any:
    """Call `animate` with what a test changes; gives the row, the frames and the log."""

    def run(portrait: Path, log: Any = None, **changes: Any) -> tuple[AnimateResult, np.ndarray, list[str]]:
        lines: list[str] = []
        output = changes.pop("output", tmp_path / "out" / "result.mp4")
        settings = {"driving": driver, "model": model, "sampling": QUICK, "device": "cpu", **changes}
        request = AnimateRequest(portrait=portrait, output=output, **settings)
        result = animate(request, landmarker_asset, log or lines.append)
        return result, read_frames(output) if output.suffix == ".mp4" else np.empty(0), lines

    return run


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photograph that the sample clips are made of, 512 x 512."""
    path = tmp_path_factory.mktemp("portraits") / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return path
