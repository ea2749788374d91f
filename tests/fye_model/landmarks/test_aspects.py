"""What a face is seen doing: every expression by its blendshapes, poses and gazes by their side, flickers left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fye_model.landmarks.aspects import ASPECTS, EXPRESSIONS, GAZES, POSES, SeenFace
from fye_model.landmarks.blendshapes import NAMES
from fye_model.landmarks.geometry import euler_deg
from fye_model.landmarks.table import write_landmarks
from tests.documents import ROOT
from tests.fye_model.landmarks.conftest import pose, sequence_of

FPS = 25.0
MAKES = {
    "frown": {"browDownLeft": 0.8, "browDownRight": 0.7},
    "crossed_eyes": {"eyeLookInLeft": 0.8, "eyeLookInRight": 0.9},
    "pout": {"mouthPucker": 0.95},
    "brows_raised": {"browInnerUp": 0.9, "browOuterUpLeft": 0.9, "browOuterUpRight": 0.8},
    "one_brow_raised": {"browOuterUpLeft": 0.7},
    "eyes_wide": {"eyeWideLeft": 0.5, "eyeWideRight": 0.6},
    "eyes_shut": {"eyeBlinkLeft": 0.8, "eyeBlinkRight": 0.8},
    "squint": {"eyeSquintLeft": 0.7, "eyeSquintRight": 0.8},
    "wink_left": {"eyeBlinkLeft": 0.8, "eyeBlinkRight": 0.1},
    "wink_right": {"eyeBlinkRight": 0.8, "eyeBlinkLeft": 0.1},
    "mouth_wide_open": {"jawOpen": 0.8},
    "grin": {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.8},
    "mouth_corners_down": {"mouthShrugLower": 0.5},
    "mouth_left": {"mouthLeft": 0.7},
    "mouth_right": {"mouthRight": 0.7},
}


def shapes(frames: int, **values: float) -> np.ndarray:
    table = np.zeros((frames, len(NAMES)), np.float32)
    for name, value in values.items():
        table[:, NAMES.index(name)] = value
    return table


def seen(table: np.ndarray, pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0) -> SeenFace:
    angles = euler_deg(np.repeat(pose(pitch, yaw, roll)[None], len(table), axis=0))
    return SeenFace(table, angles, FPS)


def done(face: SeenFace) -> set[str]:
    return {aspect.name for aspect in ASPECTS if aspect.readable(face) and aspect.seconds(face) > 0}


@pytest.mark.parametrize("expression", MAKES)
def test_an_expression_is_told_by_its_blendshapes_and_by_no_other(expression: str) -> None:
    face = seen(shapes(25, **MAKES[expression]))
    assert done(face) & {aspect.name for aspect in EXPRESSIONS} == {expression}
    (aspect,) = [aspect for aspect in EXPRESSIONS if aspect.name == expression]
    assert aspect.seconds(face) == pytest.approx(1.0) and aspect.strongest(face) >= aspect.at_least


def test_what_flickers_is_no_expression_and_a_blink_shuts_no_eyes() -> None:
    table = shapes(50)
    table[10:14, NAMES.index("jawOpen")] = 0.9  # 0.16 s
    table[20:28, [NAMES.index("eyeBlinkLeft"), NAMES.index("eyeBlinkRight")]] = 0.9  # 0.32 s
    face = seen(table)
    assert not done(face) & {"mouth_wide_open", "eyes_shut"}
    assert next(aspect for aspect in EXPRESSIONS if aspect.name == "mouth_wide_open").strongest(face) == 0.0
    table[10:15, NAMES.index("jawOpen")] = 0.9
    assert "mouth_wide_open" in done(seen(table))


@pytest.mark.parametrize(
    ("angles", "poses"),
    [
        ((0, 0, 0), {"frontal"}),
        ((0, 30, 0), {"turned_left"}),  # to the image's right: the subject's left
        ((0, -60, 0), {"turned_right", "profile_right"}),
        ((25, 0, 0), {"down"}),
        ((-25, 0, 0), {"up"}),
        ((0, 0, -25), {"frontal", "tilted_left"}),  # clockwise in the picture: towards the subject's left shoulder
    ],
)
def test_poses_have_the_subjects_sides(angles: tuple[float, float, float], poses: set[str]) -> None:
    assert done(seen(shapes(25), *angles)) & {aspect.name for aspect in POSES} == poses


def test_gazes_have_the_subjects_sides_and_crossed_eyes_look_nowhere() -> None:
    gazes = {aspect.name for aspect in GAZES}
    left = {"eyeLookOutLeft": 0.6, "eyeLookInRight": 0.6}
    up = {"eyeLookUpLeft": 0.6, "eyeLookUpRight": 0.6}
    assert done(seen(shapes(25, **left))) & gazes == {"gaze_left"}
    assert done(seen(shapes(25, **left, **up))) & gazes == {"gaze_up_left"}
    assert done(seen(shapes(25, **MAKES["crossed_eyes"]))) & gazes == set()
    around = np.concatenate(
        [shapes(10, **left), shapes(10, **up), shapes(10, eyeLookDownLeft=0.9, eyeLookDownRight=0.9)]
    )
    assert "look_around" in done(seen(around)) and "look_around" not in done(seen(shapes(25, **left)))


def test_without_blendshapes_poses_are_still_told() -> None:
    face = SeenFace(None, seen(shapes(25), yaw=30).angles, FPS)
    assert done(face) == {"turned_left"}


def test_a_table_is_read_without_its_points_and_without_frames_that_show_no_face(tmp_path: Path) -> None:
    points = np.full((20, 478, 3), 0.5)
    points[15:] = np.nan
    matrix = np.repeat(pose(yaw_deg=30)[None], 20, axis=0).astype(np.float32)
    table = shapes(20, jawOpen=0.9)
    matrix[15:], table[15:] = np.nan, np.nan
    write_landmarks(sequence_of(points, matrix=matrix, blendshapes=table), tmp_path / "landmarks.parquet")
    face = SeenFace.read(tmp_path / "landmarks.parquet")
    assert len(face.angles) == 15 and {"turned_left", "mouth_wide_open"} <= done(face)
    write_landmarks(sequence_of(points), tmp_path / "bare.parquet")
    with pytest.raises(ValueError, match="no head poses"):
        SeenFace.read(tmp_path / "bare.parquet")


def test_the_eighteen_expressions_are_those_of_the_captured_set() -> None:
    listed = (ROOT / "datasets" / "captured" / "expressions.txt").read_text().split()
    assert [aspect.name for aspect in EXPRESSIONS] == listed
    untold = {aspect.name for aspect in EXPRESSIONS if not aspect.told}
    assert untold | MAKES.keys() | {"look_around"} == set(listed), "the test above tries every one that can be told"


def test_blendshapes_are_mediapipes_in_its_order() -> None:
    vision = pytest.importorskip("mediapipe.tasks.python.vision.face_landmarker")
    theirs = [entry.name.lower().replace("_", "") for entry in vision.Blendshapes]
    assert [name.lower().removeprefix("_") for name in NAMES] == theirs
