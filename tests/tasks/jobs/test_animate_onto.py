"""A person in footage takes on a driver's expression, end to end with a tiny model of random weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fye_model.animation.blend import soft_mask
from fye_model.animation.onto import spans_of
from fye_model.animation.portrait import Cut
from fye_model.devices import choose_device
from tasks.animation.footage import Footage, beside_gaps, put_onto, set_footage
from tasks.animation.kept import folder_of
from tasks.animation.onto import OntoRequest, check_onto
from tasks.animation.sampling import load_for_animation
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.animate_onto import animate_onto
from tasks.media.audio import AudioSource
from tasks.media.moving import look_at
from tasks.media.read import read_frames
from tests.tasks.animation.test_kept import counted
from tests.tasks.performing import MODEL, QUICK, SIZE
from tests.tasks.videos import click, encode

LENGTH, DRIVEN, HIDDEN = 18, 14, slice(5, 12)
SMALL = 240


@pytest.fixture(scope="module")
def footage(sample_clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that wanders through a larger picture, with sound; in some frames nobody is there."""
    frames = read_frames(sample_clips[0], slice(0, LENGTH))
    wall = np.random.default_rng(0).integers(90, 110, (300, 420, 3)).astype(np.uint8)
    pictures = []
    for index, frame in enumerate(frames):
        picture = wall.copy()
        if not HIDDEN.start <= index < HIDDEN.stop:
            head = np.asarray(Image.fromarray(frame).resize((SMALL, SMALL)))
            picture[30 : 30 + SMALL, 60 + 2 * index : 60 + 2 * index + SMALL] = head
        pictures.append(picture)
    folder = tmp_path_factory.mktemp("footage")
    return encode(folder / "footage.mp4", np.stack(pictures), sound=(click(LENGTH / 25, 0.3), 0.0))


@pytest.fixture(scope="module")
def driver(sample_clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another clip, with sound, which ends before the footage does."""
    frames = read_frames(sample_clips[-1], slice(0, DRIVEN))
    frames = np.stack([np.asarray(Image.fromarray(frame).resize((SMALL, SMALL))) for frame in frames])
    folder = tmp_path_factory.mktemp("drivers")
    return encode(folder / "driver.mp4", frames, sound=(click(DRIVEN / 25, 0.2), 0.0))


@pytest.fixture(scope="module")
def requested(footage: Path, driver: Path, model: Path) -> Any:
    """A request for the footage, with what a test changes."""

    def build(output: Path, **changes: Any) -> OntoRequest:
        places = {"onto": footage, "driving": driver, "model": model, "output": output}
        return OntoRequest.model_validate({**places, "sampling": QUICK, "device": "cpu", **changes})

    return build


@pytest.fixture(scope="module")
def pipeline(model: Path) -> Any:
    return load_for_animation(model, choose_device("cpu"))


@pytest.fixture(scope="module")
def whole(requested, pipeline, landmarker_asset: LandmarkerAsset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A request that was done, what came of it, and what was said."""
    lines: list[str] = []
    request = requested(tmp_path_factory.mktemp("whole") / "out")
    return request, animate_onto(request, landmarker_asset, lines.append, pipeline), lines


def shown(path: Path) -> np.ndarray:
    with look_at(path, 25.0, 1.0).open() as video:
        return np.stack([rgb for _, rgb in video.pictures()])


def pngs(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def test_only_the_face_changes_and_only_where_there_are_both(
    whole, footage: Path, landmarker_asset: LandmarkerAsset
) -> None:
    request, result, lines = whole
    before, after = shown(footage), pngs(request.output)
    assert after.shape == before.shape and result.frames == LENGTH and result.fps == pytest.approx(25)
    scene = set_footage(request, MODEL, landmarker_asset, QUICK, lambda line: None)
    assert (result.without_face, result.without_driver, result.replaced) == (7, 4, 7)
    assert scene.made.sum() == 7
    assert any("7 of 18 frames do not show the person" in line for line in lines)
    assert any("driver.mp4 ends after 0.6 of 0.7 s; 4 frames stay as they are" in line for line in lines)
    assert not any("driver.mp4: no face" in line for line in lines), "it has one in every frame that it has"
    changed = np.abs(after.astype(int) - before).max(axis=-1)
    assert not changed[~scene.made].any(), "frames without a made face are the footage's to the bit"
    for frame in np.flatnonzero(scene.made):
        square = scene.squares[frame]
        mask = soft_mask(np.stack([scene.landmarks.points_px[frame], scene.own[frame]]), SIZE)
        rows, columns = np.nonzero(changed[frame])
        assert len(rows) and (rows >= square.top).all() and (columns >= square.left).all()
        assert rows.max() < square.top + square.side and columns.max() < square.left + square.side
        reach = (mask > 0).mean() * square.side**2
        assert len(rows) < 1.15 * reach, "the corners of the square are the footage's, too"
    assert (request.output / "sound.flac").is_file() and result.sound == "footage"
    assert not folder_of(request.output).exists()


def test_an_interrupted_run_goes_on_and_gives_the_same(
    whole, requested, pipeline, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    request = requested(tmp_path / "out")

    def stop(line: str) -> None:
        if "frames in" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate_onto(request, landmarker_asset, stop, pipeline)
    assert not request.output.exists() and list(folder_of(request.output).rglob("*.window"))
    with counted(pipeline) as calls:
        animate_onto(request, landmarker_asset, lambda line: None, pipeline)
    assert not calls, "all windows were finished"
    np.testing.assert_array_equal(pngs(request.output), pngs(whole[0].output))
    assert not folder_of(request.output).exists()


def test_landmarks_of_another_model_than_it_was_trained_on_are_said(
    requested, pipeline, model: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "model")
    MODEL.model_copy(update={"landmark_model": "another:1"}).write(tmp_path / "model")
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        if line.startswith("device"):
            raise KeyboardInterrupt

    for folder in (tmp_path / "model", model):
        with pytest.raises(KeyboardInterrupt):
            animate_onto(requested(tmp_path / "out", model=folder), landmarker_asset, stop, pipeline)
    said = [line for line in lines if "was trained on landmarks of" in line]
    assert said == [
        f"note: the model was trained on landmarks of another:1, and these are of {landmarker_asset.model}: eyes and "
        "mouth sit a little otherwise"
    ]


def test_the_drivers_sound_and_head_are_chosen(
    requested, pipeline, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    loud = requested(tmp_path / "x.mp4", sound="driver", head="driver")
    assert animate_onto(loud, landmarker_asset, lambda line: None, pipeline).sound == "driver"
    AudioSource(loud.output).close()


@pytest.fixture(scope="module")
def scene(requested, landmarker_asset: LandmarkerAsset, tmp_path_factory: pytest.TempPathFactory) -> Footage:
    request = requested(tmp_path_factory.mktemp("scene") / "out")
    return set_footage(request, MODEL, landmarker_asset, QUICK, lambda line: None)


def laid_over(scene: Footage, before: np.ndarray, change: np.ndarray) -> np.ndarray:
    """What `put_onto` makes of squares that show the footage itself, changed by (size, size, 3): (f, h, w, 3)."""
    squares = []
    for frame in np.flatnonzero(scene.made):
        cut = Cut(scene.turn, scene.squares[frame])
        picture = np.asarray(cut.picture(Image.fromarray(before[frame]), SIZE)) + change
        squares.append(picture.clip(0, 255).astype(np.uint8))
    return np.stack(list(put_onto(scene, iter(squares), 25.0, "footage"))).astype(int)


def test_a_made_face_in_another_light_is_brought_to_the_footages(scene: Footage, footage: Path) -> None:
    before = shown(footage)
    usual, darker = (laid_over(scene, before, np.full((SIZE, SIZE, 3), change)) for change in (0, -20))
    face = np.abs(laid_over(scene, before, np.full((SIZE, SIZE, 3), 255)) - usual).max(axis=-1) > 0
    assert face.any() and np.abs(darker - usual)[face].mean() < 4


def test_the_seam_stays_where_landmarks_jitter_from_frame_to_frame(scene: Footage, footage: Path) -> None:
    before = shown(footage)
    board = 60 * (1 - 2 * (np.indices((SIZE, SIZE)).sum(axis=0) // 4 % 2))[..., None]

    def seen(shift_px: np.ndarray) -> np.ndarray:
        points, own = (one + shift_px[:, None, None] for one in (scene.landmarks.points_px, scene.own))
        moved = replace(scene, landmarks=replace(scene.landmarks, points_px=points), own=own)
        return laid_over(moved, before, board)[2]

    still, elsewhere = seen(np.zeros(LENGTH)), seen(np.full(LENGTH, 2.0))
    jittering = seen(np.where(np.arange(LENGTH) % 2, -2.0, 2.0))
    assert np.abs(jittering - still).mean() < 0.5 * np.abs(elsewhere - still).mean()


def test_what_cannot_be_replaced_is_refused(
    requested, driver: Path, landmarker_asset: LandmarkerAsset, tmp_path: Path
) -> None:
    encode(tmp_path / "wall.mp4", np.full((3, 64, 64, 3), 90, np.uint8))
    for changes, message in (
        ({"onto": tmp_path / "gone.mp4"}, "gone.mp4"),
        ({"output": driver}, "is the driver itself"),
        ({"output": tmp_path / "x.avi"}, "does not end in .mp4"),
        ({"alpha": True}, "footage has no transparency"),
        ({"transfer": {"rotation": "absolute"}}, "the footage says where the person is"),
    ):
        with pytest.raises(ValueError, match=message):
            check_onto(requested(**{"output": tmp_path / "out", **changes}))
    for changes, message in (
        ({"onto": tmp_path / "wall.mp4"}, "none of 3 frames of the footage shows a face"),
        ({"face": "5"}, "of the footage shows face 5"),
        ({"reference_frame": 99}, "its frames are 0 to 17"),
        ({"reference_frame": 7}, "frame 7 of the footage does not show the person"),
    ):
        with pytest.raises(ValueError, match=message):
            set_footage(requested(tmp_path / "out", **changes), MODEL, landmarker_asset, QUICK, lambda line: None)


def test_faces_come_and_go_softly_inside_the_footage_alone() -> None:
    made = np.ones(30, bool)
    made[10:12] = False
    part = beside_gaps(made, 25.0, 0.2)
    assert part[0] == part[29] == 1 and not part[10:12].any()
    assert 0 < part[12] < part[13] < part[16] and 0 < part[9] < part[8] < part[4] and part[20] == 1
    assert [(span.start, span.stop) for span in spans_of(made)] == [(0, 10), (12, 30)]
