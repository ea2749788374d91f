"""Which face performs, where it is, and what it takes over, as a user asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from skimage import data

from fye_model.animation.transfer import Transfer
from fye_model.animation.turn import Turn
from fye_model.landmarks import topology
from tasks.animation.request import AnimateRequest
from tasks.animation.scene import Scene, set_scene
from tasks.faces.choice import choose_by_place
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.animate import AnimateSettings
from tests.fye_model.animation.tiny import describe_tiny
from tests.tasks.performing import QUICK
from tests.tasks.videos import encode

MODEL = describe_tiny(size=256)
FACE = Image.fromarray(data.astronaut()).crop((90, 0, 370, 280))


@pytest.fixture
def scene_of(driver: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path) -> Any:
    """What would be animated, without a model: a portrait picture, and settings."""

    def build(picture: Image.Image, **settings: Any) -> Scene:
        picture.save(tmp_path / "portrait.png")
        places = {"portrait": tmp_path / "portrait.png", "model": tmp_path, "output": tmp_path / "out.mp4"}
        request = AnimateRequest(**{"driving": driver, **places, **settings})
        return set_scene(request, MODEL, landmarker_asset, QUICK, lambda line: None)

    return build


def drawn(scene: Scene, index: int = 0) -> np.ndarray:
    """Points of the first performance in pixels of the whole picture: (f, 478, 2)."""
    performance = scene.performances[index]
    cut = performance.cut
    square = performance.landmarks.points_px * (cut.square.side / MODEL.size)
    return cut.turn.back(square + np.array([cut.square.left, cut.square.top]))


@pytest.mark.parametrize("deg", [90, 180, 40, -12])
def test_a_lying_or_tilted_portrait_begins_in_its_own_pose(scene_of, deg: float) -> None:
    turn = Turn(*FACE.size, deg)
    upright, turned = scene_of(FACE), scene_of(turn.picture(FACE))
    expected = turn.there(drawn(upright)[0])
    unit = topology.interocular_distance(expected)
    seen = list(topology.EXPRESSION_POINTS)
    assert np.linalg.norm(drawn(turned)[0] - expected, axis=1)[seen].mean() < 0.08 * unit
    assert (turned.performances[0].cut.turn.deg != 0) == (abs(deg) > 20)
    assert any("to stand upright" in note for note in turned.notes) == (abs(deg) > 20)


def test_a_lying_portrait_is_pasted_back_as_it_lay(perform, tmp_path: Path) -> None:
    lying = FACE.rotate(90)
    lying.save(tmp_path / "lying.png")
    row, frames, _ = perform(tmp_path / "lying.png", paste_back=True)
    assert abs(row.turned_deg) == 90 and frames[0].shape == (280, 280, 3)
    changed = np.abs(frames[0].astype(int) - np.asarray(lying)).mean(axis=-1) > 40
    rows, columns = np.nonzero(changed)
    face = Turn(*FACE.size, 90).there(np.array([[140.0, 110.0]]))[0]
    assert np.abs(np.array([columns.mean(), rows.mean()]) - face).max() < 45


def test_the_driver_pulls_a_tilted_head_upright_only_when_that_is_asked(scene_of) -> None:
    tilted = FACE.rotate(15, fillcolor="white")

    def line(scene: Scene) -> float:
        right, left = (drawn(scene)[0][corner] for corner in topology.OUTER_EYE_CORNERS)
        return float(-np.degrees(np.arctan2(*(left - right)[::-1])))

    own, upright = line(scene_of(tilted)), line(scene_of(FACE))
    assert own - upright == pytest.approx(15, abs=3)
    assert abs(line(scene_of(tilted, transfer=Transfer(rotation="absolute"))) - upright) < 8


def test_five_points_say_where_the_face_of_a_wall_is(scene_of) -> None:
    points = "100,80;160,80;130,110;108,140;152,140"
    scene = scene_of(Image.new("RGB", (300, 240), "grey"), points=points)
    first = drawn(scene)[0]
    for index, expected in ((61, (108, 140)), (291, (152, 140))):
        np.testing.assert_allclose(first[index], expected, atol=4)
    assert scene.performances[0].motion.aligned and any("pointed at" in note for note in scene.notes)
    boxed = scene_of(Image.new("RGB", (300, 240), "grey"), box="80,40,180,170")
    low, high = drawn(boxed)[0].min(axis=0), drawn(boxed)[0].max(axis=0)
    assert (low > (70, 30)).all() and (high < (190, 180)).all()
    with pytest.raises(ValueError, match="outside the picture"):
        scene_of(Image.new("RGB", (300, 240), "grey"), box="380,40,480,170")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points": "1,2;3,4"}, "are 2; expected x,y;x,y;… of left eye"),
        ({"points": "1,2;3,4;5;6,7;8,9"}, "expected 2 numbers"),
        ({"box": "1,2,3"}, "expected 4 numbers"),
        ({"box": "1,2,3,4", "points": "1,2;3,4;5,6;6,7;8,9"}, "give one of them"),
        ({"transfer": {"eyes": 2.5}}, "less than or equal to 2"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_is_expected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AnimateSettings.model_validate(settings)


def _group() -> Image.Image:
    """Three faces in a row, the middle one the largest."""
    row = Image.new("RGB", (900, 300), "white")
    for index, side in enumerate((200, 290, 230)):
        row.paste(FACE.resize((side, side)), (300 * index, 0))
    return row


def test_faces_of_a_group_are_chosen_by_place_and_number_and_perform_together(scene_of) -> None:
    def centres(**settings: Any) -> list[int]:
        scene = scene_of(_group(), **settings)
        return [round(float(drawn(scene, index)[0][:, 0].mean())) // 300 for index in range(len(scene.performances))]

    assert centres() == [1] and centres(face="left") == [0] and centres(face="right") == [2]
    assert centres(face="0,2", paste_back=True) == [0, 2] and centres(face="all", paste_back=True) == [0, 1, 2]
    with pytest.raises(ValueError, match="3 faces are animated in one picture: give --paste-back"):
        scene_of(_group(), face="all")
    with pytest.raises(ValueError, match="face 3 was asked for, but 3 faces were found"):
        scene_of(_group(), face="3")


def test_a_group_performs_in_one_picture(perform, tmp_path: Path) -> None:
    _group().save(tmp_path / "group.png")
    _, frames, _ = perform(tmp_path / "group.png", face="0,2", paste_back=True)
    changed = np.abs(frames[3].astype(int) - np.asarray(_group())).mean(axis=(0, 2))
    assert changed[:200].mean() > 5 and changed[600:830].mean() > 5 and changed[350:550].mean() < 3


def test_places_and_numbers_name_boxes() -> None:
    from fye_model.landmarks.boxes import PixelBox

    boxes = [PixelBox(50, 0, 60, 10), PixelBox(0, 0, 5, 5), PixelBox(20, 0, 40, 20)]
    words = {"largest": [2], "left": [1], "right": [0], "centre": [2], "0": [1], "2,1": [0, 2], "all": [1, 2, 0]}
    assert {word: choose_by_place(word, boxes, 60) for word in words} == words
    with pytest.raises(ValueError, match="expected largest, left, centre"):
        choose_by_place("smallest", boxes, 60)


def test_one_of_the_drivers_faces_drives(scene_of, driver: Path, tmp_path: Path) -> None:
    small, still = FACE.resize((200, 200)), FACE.resize((280, 280))
    frames = []
    for index in range(4):  # the left one moves
        frame = Image.new("RGB", (600, 300), "white")
        frame.paste(small, (10 + 8 * index, 40))
        frame.paste(still, (310, 10))
        frames.append(np.asarray(frame))
    encode(tmp_path / "two.mp4", frames)
    for face, moves in (("0", True), ("left", True), ("largest", False), ("right", False)):
        scene = scene_of(FACE, driving=tmp_path / "two.mp4", driver_face=face)
        assert (np.ptp(drawn(scene)[:, 1, 0]) > 10) == moves, face
    with pytest.raises(ValueError, match="shows face 2"):
        scene_of(FACE, driving=tmp_path / "two.mp4", driver_face="2")
    with pytest.raises(ValueError, match="one face drives"):
        scene_of(FACE, driving=tmp_path / "two.mp4", driver_face="all")


def test_expression_alone_leaves_the_head_still(scene_of) -> None:
    moving, still = (scene_of(FACE, transfer=Transfer(pose=strength)) for strength in (1.0, 0.0))
    nose = [np.ptp(drawn(scene)[:, 168], axis=0).max() for scene in (moving, still)]
    assert nose[1] < 0.3 * nose[0]
    assert any("neutral: frame" in note or "neutral: put together" in note for note in still.notes)
