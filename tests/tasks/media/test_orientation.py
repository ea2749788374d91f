"""Each of the eight display matrices is the mirroring and turning that it stands for."""

from __future__ import annotations

import gc
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.media.orientation import UPRIGHT, Orientation, from_matrix, orientation_of
from tasks.media.read import iter_frames
from tests.tasks.videos import DISPLAY_MATRICES, encode, numbered


@pytest.mark.parametrize("key", DISPLAY_MATRICES, ids=str)
def test_every_pixel_goes_where_the_matrix_sends_it(key: tuple[bool, int]) -> None:
    matrix = np.array(DISPLAY_MATRICES[key]).reshape(3, 3)[:2, :2] / 65536
    picture = np.arange(12).reshape(3, 4)
    y, x = np.mgrid[:3, :4]
    sent = np.einsum("...i,ij->...j", np.stack([x, y], axis=-1), matrix).astype(int)
    sent -= sent.min(axis=(0, 1))
    expected = np.full(tuple(sent.reshape(-1, 2).max(axis=0)[::-1] + 1), -1)
    expected[sent[..., 1], sent[..., 0]] = picture
    orientation = from_matrix(DISPLAY_MATRICES[key])
    assert orientation == Orientation(*key)
    np.testing.assert_array_equal(orientation.shown(picture), expected)


def test_a_crooked_matrix_is_the_nearest_quarter_turn_and_an_empty_one_none() -> None:
    tilted = [round(65536 * value) for value in (0.1, 0.99, 0, -0.99, 0.1, 0, 0, 0, 16384)]
    assert from_matrix(tilted) == Orientation(False, 3)
    assert from_matrix([0] * 9) == UPRIGHT


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_another_decoder_turns_the_same_way(tmp_path: Path, turns: int) -> None:
    cv2 = pytest.importorskip("cv2")  # it knows the turns, and ignores the mirroring
    video = encode(tmp_path / "v.mp4", numbered(2, 64, 48), orientation=Orientation(False, turns))
    there, bgr = cv2.VideoCapture(str(video)).read()
    assert there
    np.testing.assert_allclose(next(iter_frames(video)).astype(int), bgr[..., ::-1], atol=12)


def test_a_look_at_a_frame_leaves_nothing_that_only_a_collection_frees() -> None:
    """A circle around one frame kept all the memory of its decoder: two videos of 0.4 GB took 0.8."""
    frame = av.VideoFrame(16, 16, "yuv420p")
    gc.collect()
    gc.disable()
    try:
        assert orientation_of(frame).upright
        del frame
        assert gc.collect() == 0
    finally:
        gc.enable()
