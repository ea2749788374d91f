"""Tags are given for what a face does for long enough, and for nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from fye_model.evaluation.tags import BY_HAND, TAGS, Seen, largest_angles, see, tags_of
from fye_model.landmarks.blendshapes import NAMES
from tests.fye_model.evaluation.moving_face import face, track

FRAMES = 30
DOES = {
    "frown": ("browDownLeft", "browDownRight"),
    "raised_brows": ("browInnerUp",),
    "crossed_eyes": ("eyeLookInLeft", "eyeLookInRight"),
    "gaze": ("eyeLookOutLeft", "eyeLookInRight"),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "wink": ("eyeBlinkLeft",),
    "wide_eyes": ("eyeWideLeft", "eyeWideRight"),
    "open_mouth": ("jawOpen",),
    "pout": ("mouthPucker",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "lips_in": ("mouthRollLower", "mouthRollUpper"),
}


def seen(*names: str, frames: int = 5, angles: np.ndarray | None = None) -> Seen:
    shapes = np.zeros((FRAMES, 52))
    for name in names:
        shapes[10 : 10 + frames, NAMES.index(name)] = 0.95
    return Seen(shapes, np.zeros((FRAMES, 3)) if angles is None else angles)


@pytest.mark.parametrize("tag", DOES)
def test_each_expression_has_its_tag_and_no_other(tag: str) -> None:
    assert tags_of(seen(*DOES[tag])) == (tag,)


def test_every_tag_that_reads_blendshapes_is_tried_here() -> None:
    assert set(DOES) == {tag.name for tag in TAGS if tag.shapes} and not set(BY_HAND) & set(DOES)


def test_a_face_at_rest_and_a_twitch_have_no_tag() -> None:
    assert tags_of(seen()) == () == tags_of(seen(*DOES["pout"], frames=2))
    assert tags_of(seen(*DOES["blink"], frames=1)) == ("blink",), "a blink is short"


def test_eyes_to_one_side_are_not_crossed_and_half_a_smile_is_none() -> None:
    assert tags_of(seen("eyeLookInLeft")) == () == tags_of(seen("mouthSmileLeft"))


def test_large_turns_are_told_apart_by_axis() -> None:
    for axis, tag in enumerate(("large_pitch", "large_yaw", "large_roll")):
        angles = np.full((FRAMES, 3), 3.0)
        angles[20:, axis] = 30.0
        assert tags_of(seen(angles=angles)) == (tag,)


def test_a_tracks_angles_are_read_and_missing_faces_and_blendshapes_are_no_tags() -> None:
    found = see(track([face(yaw_deg=float(yaw)) for yaw in (*[0] * 9, -25, -26, -25)] + [None]))
    assert tags_of(found) == ("large_yaw",)
    assert largest_angles(found)[1] == pytest.approx(26, abs=0.5)
    nobody = see(track([None, None]))
    assert tags_of(nobody) == () and largest_angles(nobody) == (0.0, 0.0, 0.0)
