"""Live: motion laid on window by window is that of the whole, and each window goes on from the kept last frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from fye_model.animation.live import LiveMotion, LiveWindows
from fye_model.animation.pipeline import FollowYourEmojiPipeline
from fye_model.animation.transfer import Transfer, transfer_motion
from fye_model.config import SamplingConfig
from fye_model.landmarks.table import LandmarkSequence
from tests.benchmarks.latency import moving_face
from tests.fye_model.animation.test_transfer import FACE, perform
from tests.fye_model.animation.tiny import SIZE, describe_tiny
from tests.fye_model.landmarks.conftest import landmarks_of, pose, sequence_of

WINDOW, NEW = 4, 3
MODEL = describe_tiny(size=512)


@pytest.fixture
def windows(tiny_pipe: FollowYourEmojiPipeline, portrait: np.ndarray) -> Callable[..., LiveWindows]:
    def make(**sampling: object) -> LiveWindows:
        how = SamplingConfig(**{"steps": 2, "window": WINDOW, **sampling})
        return LiveWindows(tiny_pipe, Image.fromarray(portrait), points(1)[0], describe_tiny(), how)

    return make


def points(count: int, start: int = 0) -> np.ndarray:
    """(count, 478, 2) pixels of a face that moves."""
    return moving_face(start + count, SIZE, "expression_aware").points_px[start:]


def test_a_window_begins_with_the_last_frame_of_the_one_before_untouched(
    windows: Callable[..., LiveWindows], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing, drawn = windows(), []
    sampled = drawing._sampled
    monkeypatch.setattr(
        drawing, "_sampled", lambda points_px: drawn.append((points_px, sampled(points_px))) or drawn[-1][1]
    )
    for start in (0, NEW, 2 * NEW):
        assert drawing.draw(points(NEW, start)).shape == (NEW, SIZE, SIZE, 3)
    for (points_before, before), (points_after, after) in pairwise(drawn):
        assert before.shape[1] == after.shape[1] == WINDOW
        assert torch.equal(after[:, 0], before[:, -1])
        np.testing.assert_array_equal(points_after[0], points_before[-1])
        assert not torch.equal(after[:, 1], before[:, -1])


def test_what_a_window_shows_depends_on_the_frame_before_it(windows: Callable[..., LiveWindows]) -> None:
    """Not kept, it would begin anew: the same noise and the same points would give the same frames."""
    ends = []
    for first in (0, 40):
        drawing = windows()
        drawing.draw(points(NEW, first))
        drawing._last_px = points(1)[0]
        drawing.draw(points(NEW, 20))
        ends.append(drawing._kept)
    assert not torch.equal(*ends)


def test_the_seed_decides_and_frames_come_one_by_one_or_together(windows: Callable[..., LiveWindows]) -> None:
    one, same, other = (windows(seed=seed).draw(points(NEW)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one.astype(int) - other).max() > 2
    np.testing.assert_array_equal(windows(seed=1).draw(points(1)).shape, (1, SIZE, SIZE, 3))
    for count in (0, NEW + 1):
        with pytest.raises(ValueError, match="takes 1 to 3 new ones"):
            windows().draw(points(WINDOW)[:count] if count else points(1)[:0])


def driver(frames: int = 40) -> LandmarkSequence:
    """A face that speaks, turns and blinks; its first frame is at rest."""
    at = np.arange(frames)
    blink = np.where((at % 9 >= 4) & (at % 9 <= 5), 0.9, 0.0)
    return perform(1.5 * (1 - np.cos(at / 3)), blink, frames, yaw_deg=15 * np.sin(at / 6), roll_deg=at / 4.0)


def motion_of(known: LandmarkSequence, **how: object) -> LiveMotion:
    return LiveMotion(known, perform(frames=1, yaw_deg=5.0), FACE, MODEL, Transfer(**how))


def test_motion_in_pieces_is_the_motion_of_the_whole() -> None:
    whole = driver()
    motion = motion_of(whole.select(slice(0, 1)))
    pieces = [motion.next(whole.select(slice(start, start + 8)))[0] for start in range(0, 40, 8)]
    at_once = transfer_motion(whole, perform(frames=1, yaw_deg=5.0), FACE, Transfer(neutral="0")).points
    assert np.abs(np.diff(at_once, axis=0)).max() > 4, "it moves"
    # gaze alone differs: through a blink that a piece begins in the middle of, it is not known where it will be
    np.testing.assert_allclose(np.concatenate(pieces)[:, :468], at_once[:, :468], atol=0.01)


def test_the_calmest_of_the_first_frames_is_neutral() -> None:
    assert motion_of(perform(np.array([2.0, 1.5, 0.0, 1.0]), frames=4)).neutral == 2


def test_frames_without_a_face_hold_the_pose_before_them() -> None:
    whole = driver(24)
    points = whole.points.copy()
    points[[0, 10, 11, 12]] = np.nan
    seen = replace(whole, points=points, valid=np.isfinite(points).all(axis=(1, 2)))
    motion = motion_of(whole.select(slice(0, 1)))
    found, held = zip(*(motion.next(seen.select(slice(start, start + 8))) for start in range(0, 24, 8)), strict=True)
    drawn, holding = np.concatenate(found), np.concatenate(held)
    assert np.flatnonzero(holding).tolist() == [0, 10, 11, 12] and np.isfinite(drawn).all()
    for frame in (10, 11, 12):
        np.testing.assert_array_equal(drawn[frame], drawn[9])
    own = perform(frames=1, yaw_deg=5.0).pixels()[0]
    np.testing.assert_array_equal(drawn[0], own)
    found, held = motion.next(replace(seen, valid=np.zeros(24, bool)))
    assert held.all() and (found == drawn[-1]).all()


def test_a_face_at_the_lens_is_held_and_does_not_end_the_run() -> None:
    near, close = (
        sequence_of(landmarks_of(FACE.canonical[None], pose(at_cm=(0, 0, depth))[None], 512, 512))
        for depth in (-40, -10)
    )
    motion = motion_of(near)
    assert not motion.next(near)[1].any()
    found, held = motion.next(close)
    assert held.all() and np.isfinite(found).all()


@pytest.mark.parametrize(
    ("how", "words"),
    [({"neutral": "first"}, "first second"), ({"ease_s": 1.0}, "end"), ({"position": "absolute"}, "square")],
)
def test_what_needs_the_whole_driver_is_refused(how: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        motion_of(driver(4), **how)
