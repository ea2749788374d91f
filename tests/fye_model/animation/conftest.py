"""The tiny pipeline of `tiny.py`, and a portrait and drivers for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fye_model.animation.pipeline import FollowYourEmojiPipeline
from tests.fye_model.animation.tiny import SIZE, build_tiny


@pytest.fixture(scope="session")
def tiny_pipe() -> FollowYourEmojiPipeline:
    """Shared by the tests that do not change it."""
    torch.set_num_threads(1)
    return build_tiny()


@pytest.fixture(scope="session")
def build_pipe() -> Callable[..., FollowYourEmojiPipeline]:
    """`build_tiny`, for tests that change the pipeline."""
    return build_tiny


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """(h, w, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)


@pytest.fixture(scope="session")
def driver() -> Callable[[int], np.ndarray]:
    """Landmark pictures of any length: (f, h, w, 3) uint8, different in every frame."""

    def make(length: int) -> np.ndarray:
        return np.random.default_rng(1).integers(0, 256, (length, SIZE, SIZE, 3)).astype(np.uint8)

    return make
