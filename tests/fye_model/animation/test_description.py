"""A model says what animation shares with training, keeps it through copies, and never makes it up quietly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fye_model.animation.card import CARD, write_card
from fye_model.animation.description import (
    Crop,
    ModelDescription,
    check_description,
    need_description,
    read_description,
)
from fye_model.animation.pipeline import FollowYourEmojiPipeline
from fye_model.config import SamplingConfig
from fye_model.landmarks.boxes import PixelBox, face_square, pixel_boxes, union
from fye_model.landmarks.placement import FacePlacement, measure_placement
from fye_model.landmarks.table import LandmarkSequence
from tests.fye_model.animation.tiny import describe_tiny

FACES = FacePlacement(longer=0.52, x=0.49, y=0.58, frames=600)
SCHEMA_1 = {
    "schema": 1,
    "checkpoint": "train_stage2/checkpoint-000100",
    "fps": 25.0,
    "landmark_model": "face_landmarker_v2:64184e22",
    "landmark_variant": "expression_aware",
    "size": 96,
    "sampling": SamplingConfig(steps=5).model_dump(mode="json"),
}


def test_a_copy_made_with_save_pretrained_says_the_same_as_the_model(build_pipe, tmp_path: Path) -> None:
    pipe = build_pipe()
    pipe.description = describe_tiny(
        size=96, crop=Crop(margin=0.3, faces=FACES), max_gap_frames=2, sampling=SamplingConfig(steps=5)
    )
    pipe.save_pretrained(tmp_path / "model")
    loaded = FollowYourEmojiPipeline.from_pretrained(tmp_path / "model")
    assert loaded.description == pipe.description
    loaded.save_pretrained(tmp_path / "copy")
    assert need_description(tmp_path / "copy") == pipe.description
    assert pipe.description.software.startswith("follow-your-emoji")


def test_a_model_that_says_nothing_does_not_inherit_what_an_older_one_said(build_pipe, tmp_path: Path) -> None:
    describe_tiny().write(tmp_path)
    build_pipe().save_pretrained(tmp_path)
    assert read_description(tmp_path) is None
    assert FollowYourEmojiPipeline.from_pretrained(tmp_path).description is None
    with pytest.raises(ValueError, match="size, fps, crop, max_gap_frames, sampling"):
        need_description(tmp_path)
    check_description(tmp_path, landmark_model="any")


def test_what_the_first_schema_left_out_is_named_and_stays_named_in_copies(tmp_path: Path) -> None:
    (tmp_path / "fye.json").write_text(json.dumps(SCHEMA_1))
    description = need_description(tmp_path)
    assert (description.size, description.sampling.steps) == (96, 5)
    assert description.assumed == ("crop.margin", "crop.faces", "max_gap_frames")
    assert "crop.margin 0.5" in str(description.warning) and "max_gap_frames 5" in str(description.warning)
    description.write(tmp_path)
    assert need_description(tmp_path) == description
    assert describe_tiny().warning is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": None}, "earlier version .schema 1.*size: "),
        ({"size": 100}, "expected a multiple of 8"),
        ({"schema": 9, "software": "follow-your-emoji 9.1"}, "written by follow-your-emoji 9.1; this is .*: update it"),
        ({"schema": 2, "software": "follow-your-emoji 0.1.0"}, "follow-your-emoji 0.1.0, does not .* crop: is missing"),
        ({"colour": "red"}, "colour: "),
    ],
)
def test_a_description_that_cannot_be_relied_on_is_refused_by_name(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    (tmp_path / "fye.json").write_text(json.dumps(SCHEMA_1 | changes))
    with pytest.raises(ValueError, match=message):
        read_description(tmp_path)
    (tmp_path / "fye.json").write_text("[1]")
    with pytest.raises(ValueError, match="is damaged"):
        read_description(tmp_path)


def test_another_rule_than_this_versions_is_refused(tmp_path: Path) -> None:
    values = json.loads(describe_tiny().model_dump_json(by_alias=True))
    values["crop"]["rule"] = "face-square-7"
    (tmp_path / "fye.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"crop.rule: .*face-square-1"):
        read_description(tmp_path)


def test_a_model_of_few_people_says_what_becomes_of_another_face(tmp_path: Path) -> None:
    for people, told in (
        (1, "one person: any other face comes out as that one"),
        (9, "9 people"),
        (400, ""),
        (None, ""),
    ):
        model = describe_tiny(people=people, landmark_model="a:1")
        model.write(tmp_path)
        assert read_description(tmp_path) == model
        assert [told in line for line in model.cautions("a:1")] == ([True] if told else [])
    write_card(tmp_path, describe_tiny(people=9))
    assert "| people in the training clips | 9 |" in (tmp_path / CARD).read_text()


def test_a_model_of_other_data_is_refused(tmp_path: Path) -> None:
    describe_tiny(landmark_model="a:1").write(tmp_path)
    check_description(tmp_path, landmark_model="a:1")
    with pytest.raises(ValueError, match="was trained with landmark_model 'a:1', and this run has 'b:2'"):
        check_description(tmp_path, landmark_model="b:2")
    describe_tiny(landmark_model=None).write(tmp_path)
    check_description(tmp_path, landmark_model="b:2")


def test_a_portraits_face_lies_in_its_square_as_faces_lie_in_training_clips() -> None:
    for face in (PixelBox(400, 300, 560, 520), PixelBox(700, 500, 760, 560)):
        square = Crop(margin=0.5, faces=FACES).portrait_square(face, 2000, 2000)
        assert face.longer / square.side == pytest.approx(FACES.longer, rel=0.03)
        centre = (np.array(face.centre) - (square.left, square.top)) / square.side
        np.testing.assert_allclose(centre, (FACES.x, FACES.y), atol=0.02)


def test_without_a_measurement_the_square_is_that_of_a_clip_in_which_the_face_never_moves() -> None:
    face = PixelBox(400, 300, 560, 520)
    assert Crop(margin=0.3, faces=None).portrait_square(face, 900, 800) == face_square(face, 900, 800, 0.3)


def test_a_frame_of_a_clip_gets_the_square_of_its_clip_though_the_face_moved_in_it() -> None:
    """The fault that this rule mends: the frame's own box with the margin cuts closer, and puts the face elsewhere."""
    rng = np.random.default_rng(0)
    mesh = rng.uniform(-40, 40, (478, 2))
    steps = np.stack([60 * np.sin(np.arange(50) / 8), 25 * np.cos(np.arange(50) / 5)], axis=1)
    source = (250, 330) + steps[:, None] + mesh  # (50, 478, 2) pixels of a 640 x 640 video
    boxes = pixel_boxes(source)
    clip = face_square(union(boxes), 640, 640, 0.5)
    shown = clip.to_square(source, 1)
    sequence = _sequence(np.concatenate([shown, np.zeros((50, 478, 1))], axis=2))
    crop = Crop(margin=0.5, faces=measure_placement([sequence]))
    middle = boxes[25]
    square = crop.portrait_square(middle, 640, 640)
    assert square.side == pytest.approx(clip.side, rel=0.02)
    assert face_square(middle, 640, 640, 0.5).side < 0.7 * clip.side


def _sequence(points: np.ndarray) -> LandmarkSequence:
    frames = len(points)
    there, none = np.ones(frames, bool), np.zeros(frames, bool)
    time = np.arange(frames) / 25
    return LandmarkSequence(points.astype(np.float32), None, None, there, none, time, 25.0, 96, 96, "test")


def test_where_faces_lie_is_not_made_up_from_nothing() -> None:
    with pytest.raises(ValueError, match="no frame of the clips shows a face"):
        measure_placement([])


def test_the_description_is_complete_without_defaults_for_what_training_decides() -> None:
    required = {name for name, field in ModelDescription.model_fields.items() if field.is_required()}
    assert required >= {"size", "crop", "max_gap_frames", "sampling", "landmark_model", "landmark_variant", "fps"}
