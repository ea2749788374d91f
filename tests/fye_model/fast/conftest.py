"""The tiny pipeline that the fast networks are compared on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fye_model.animation.pipeline import FollowYourEmojiPipeline
from tests.fye_model.animation.tiny import build_tiny


@pytest.fixture(scope="session")
def build_pipe() -> Callable[..., FollowYourEmojiPipeline]:
    """`build_tiny`, for tests that change the pipeline."""
    return build_tiny
