"""Any portrait performs the motion that its table says, everyone in a way of their own; unfit ones cost themselves."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fye_model.landmarks.geometry import euler_deg
from tasks.faces.detector import FaceLandmarker
from tasks.faces.follow import load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.perform import Performance, find_pictures, perform
from tasks.media.read import read_frames
from tasks.samples.clips import MOTION_FILE, SampleSettings

SETTINGS = SampleSettings(clips=1, seconds=3.0, size=192)
STEP = 2


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good ones, one of them lying, and a face that is too small, none, and no picture."""
    folder = tmp_path_factory.mktemp("portraits")
    photograph = Image.fromarray(data.astronaut())
    close = photograph.crop((90, 0, 370, 280))
    close.save(folder / "anna.png")
    close.transpose(Image.Transpose.ROTATE_90).save(folder / "lying.png")
    photograph.resize((180, 180)).save(folder / "far.png")
    Image.fromarray(data.brick()).convert("RGB").resize((160, 160)).save(folder / "wall.png")
    (folder / "words.jpg").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def made(
    portraits: Path, landmarker_asset: LandmarkerAsset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Performance]:
    output = tmp_path_factory.mktemp("people")
    performed = perform(find_pictures([portraits]), output, SETTINGS, landmarker_asset)
    return {performance.picture.stem: performance for performance in performed}


def motion(clip: Path) -> dict[str, np.ndarray]:
    with (clip.parent / MOTION_FILE).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["clip"] == clip.stem]
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "clip"}


@pytest.mark.parametrize("person", ["anna", "lying"])
def test_the_detected_face_follows_the_motion_of_the_table(
    made: dict[str, Performance], person: str, landmarker_asset: LandmarkerAsset
) -> None:
    (clip,) = made[person].clips
    frames, told = read_frames(clip), motion(clip)
    assert frames.shape == (75, 192, 192, 3) and list(told["frame"]) == list(range(75))
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as landmarker:
        faces = [landmarker.detect(frame)[0] for frame in frames[::STEP]]
    points = np.stack([face.points for face in faces])
    height, width = frames.shape[1:3]
    pitch, yaw, roll = euler_deg(load_geometry(landmarker_asset).estimate(points, width, height)[1]).T
    iris = points[:, [468, 473], 0] - (points[:, [33, 362], 0] + points[:, [133, 263], 0]) / 2
    lids = (points[:, [145, 374], 1] - points[:, [159, 386], 1]).sum(axis=1)
    measured = {"mouth": points[:, 14, 1] - points[:, 13, 1], "gaze": iris.sum(axis=1), "blink": -lids}
    measured |= {"yaw": yaw, "pitch": pitch, "roll": roll}
    for channel, curve in measured.items():
        correlation = np.corrcoef(told[channel][::STEP], curve)[0, 1]
        assert correlation > 0.75, f"{channel}: {correlation:.2f}"


def test_people_move_differently_and_equal_arguments_give_equal_frames(
    made: dict[str, Performance], portraits: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    (anna,), (lying,) = made["anna"].clips, made["lying"].clips
    assert abs(np.corrcoef(motion(anna)["yaw"], motion(lying)["yaw"])[0, 1]) < 0.9
    (again,) = perform([portraits / "anna.png"], tmp_path, SETTINGS, landmarker_asset)
    assert again.clips[0].read_bytes() == anna.read_bytes()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("far", "far.png: the face is too small: the outer corners of its eyes are"),
        ("wall", "wall.png: no face was found"),
        ("words", "words.jpg: not a readable picture"),
    ],
)
def test_unfit_portraits_are_told_and_the_rest_goes_on(made: dict[str, Performance], name: str, said: str) -> None:
    assert said in str(made[name].problem) and not made[name].clips
    assert [stem for stem, performance in made.items() if performance.clips] == ["anna", "lying"]


def test_a_lying_face_is_put_upright_and_told(made: dict[str, Performance]) -> None:
    assert re.search("lying.png: the face lies, and is turned by (8|9).° to stand upright", made["lying"].notes[0])
    assert not made["anna"].notes


def test_a_face_turned_away_is_unfit(
    landmarker_asset: LandmarkerAsset, made: dict[str, Performance], tmp_path: Path
) -> None:
    from tasks.samples.puppet import Pose, Puppet

    Image.fromarray(Puppet().frame(Pose(yaw=42), 384)).save(tmp_path / "away.png")
    (performed,) = perform([tmp_path / "away.png"], tmp_path / "out", SETTINGS, landmarker_asset)
    assert "the face is turned away (yaw" in str(performed.problem)


def test_pictures_are_looked_for_where_they_are(tmp_path: Path, portraits: Path) -> None:
    assert [path.name for path in find_pictures([portraits])][:2] == ["anna.png", "far.png"]
    with pytest.raises(ValueError, match="nowhere: no such file or folder"):
        find_pictures([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="a folder without files"):
        find_pictures([tmp_path])
