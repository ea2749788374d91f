"""The frames asked for are those where something moves; the far reference is one that it is wrong to repeat."""

from __future__ import annotations

import numpy as np
import pytest

from fye_model.evaluation.signals import read_signals
from fye_model.evaluation.windows import furthest_frame, motion, moving_window
from tests.fye_model.evaluation.moving_face import face, track


def test_the_window_is_where_the_face_moves() -> None:
    mouth = np.zeros(40)
    mouth[22:30] = 2 * np.sin(np.linspace(0, np.pi, 8))
    faces = track([face(float(opening)) for opening in mouth])
    start, stop = moving_window(faces, 5, 40, 10)
    assert stop - start == 10 and start <= 23 and stop >= 28
    assert moving_window(faces, 5, 12, 10) == (5, 12)
    still = track([face()] * 12)
    assert moving_window(still, 2, 12, 4) == (2, 6)  # nothing to choose by: the first


def test_a_face_at_rest_is_told_from_one_that_moves_or_turns() -> None:
    assert motion(read_signals(track([face()] * 8))).at_rest
    assert not motion(read_signals(track([face(float(o)) for o in np.linspace(0, 1.5, 8)]))).at_rest
    assert not motion(read_signals(track([face(yaw_deg=float(y)) for y in np.linspace(-8, 8, 8)]))).at_rest
    assert motion(read_signals(track([None] * 4))).at_rest


def test_the_far_reference_is_furthest_in_pose_and_expression_and_never_driven() -> None:
    faces = [face() for _ in range(12)]
    faces[3], faces[5] = face(mouth=1.0), face(mouth=1.0, yaw_deg=25)
    faces[9] = face(mouth=3.0, yaw_deg=40)  # driven itself
    assert furthest_frame(track(faces), (8, 12)) == 5
    lost = [None if frame == 5 else one for frame, one in enumerate(faces)]
    assert furthest_frame(track(lost), (8, 12)) == 3


def test_a_clip_without_a_frame_for_the_far_protocol_is_named() -> None:
    with pytest.raises(ValueError, match=r"0 others and 4 driven.*protocol `first`"):
        furthest_frame(track([face()] * 4), (0, 4))
