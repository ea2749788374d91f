"""What overflows in half precision is computed again in single precision, in the networks and in the decoder."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fye_model.animation.pipeline import FollowYourEmojiPipeline

Build = Callable[..., FollowYourEmojiPipeline]
Driver = Callable[[int], np.ndarray]


@pytest.mark.parametrize("strategy", ["progressive", "overlap"])
@pytest.mark.parametrize("part", ["denoiser", "vae"])
def test_what_overflows_is_computed_in_single_precision_and_told_once(
    build_pipe: Build,
    portrait: np.ndarray,
    driver: Driver,
    part: str,
    strategy: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    frames = []
    for dtype in (torch.float32, torch.float16):
        pipe = build_pipe()
        first = pipe.denoiser.unet.conv_in if part == "denoiser" else pipe.vae.decoder.conv_in
        with torch.no_grad():  # the layer after it takes the size out again
            first.weight.mul_(3e4 / float(first.weight.abs().max()))
            first.weight.copy_(first.weight.half())
        pipe.to(dtype)
        with caplog.at_level(logging.WARNING):
            random = torch.Generator().manual_seed(0)
            settings = {"num_inference_steps": 2, "window": 4, "output_type": "np", "strategy": strategy, "overlap": 2}
            frames.append(pipe(portrait, driver(6), generator=random, **settings).frames)
        told = [record.message for record in caplog.records if "overflow" in record.message]
        assert len(told) == (dtype == torch.float16)
        assert pipe.denoiser.dtype == torch.float32
    assert np.isfinite(frames[1]).all()
    assert np.abs(frames[1] - frames[0]).mean() < 0.02, "half-precision weights alone change little"


def test_what_holds_in_half_precision_stays_there(build_pipe: Build, portrait: np.ndarray, driver: Driver) -> None:
    pipe = build_pipe()
    pipe.to(torch.float16)
    assert np.isfinite(pipe(portrait, driver(2), num_inference_steps=1, output_type="np").frames).all()
    assert pipe.denoiser.dtype == torch.float16


def test_a_damaged_model_gives_its_nan_and_no_endless_tries(
    build_pipe: Build, portrait: np.ndarray, driver: Driver
) -> None:
    pipe = build_pipe()
    with torch.no_grad():
        pipe.vae.decoder.conv_in.weight.fill_(torch.nan)
    pipe.to(torch.float16)
    frames = pipe(portrait, driver(2), num_inference_steps=1, output_type="np").frames
    assert np.isnan(frames).all()
