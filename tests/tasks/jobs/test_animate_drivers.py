"""Whatever drives, the result is as long as it is shown, in step with its sound, and what was found is said."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fye_model.config import SamplingConfig
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.animate import AnimateRequest, AnimateResult, animate
from tasks.media.orientation import Orientation
from tasks.media.read import probe, read_frames
from tests.fye_model.animation.tiny import build_tiny, describe_tiny
from tests.tasks.videos import click, click_time, encode

SIZE = 64
QUICK = SamplingConfig(steps=1, window=4, smoothing="none")
CLICK_S = 0.3
Perform = Callable[..., tuple[AnimateResult, list[str]]]


@pytest.fixture(scope="module")
def perform(tmp_path_factory: pytest.TempPathFactory, landmarker_asset: LandmarkerAsset) -> Perform:
    """Animate the astronaut by a driver with a tiny model; gives the result and what was said."""
    folder = tmp_path_factory.mktemp("animate")
    model = folder / "model"
    pipeline = build_tiny()
    pipeline.description = describe_tiny(size=SIZE)
    pipeline.save_pretrained(model)
    portrait = folder / "astronaut.png"
    Image.fromarray(data.astronaut()).save(portrait)

    def run(driving: Path, **changes: object) -> tuple[AnimateResult, list[str]]:
        lines: list[str] = []
        values = {"portrait": portrait, "driving": driving, "model": model, "output": folder / "result.mp4"}
        values |= {"sampling": QUICK, "device": "cpu", **changes}
        return animate(AnimateRequest.model_validate(values), landmarker_asset, lines.append), lines

    return run


@pytest.fixture(scope="module")
def faces(sample_clips: list[Path]) -> list[np.ndarray]:
    """Frames that show a face, (192, 192, 3)."""
    frames = read_frames(sample_clips[0], slice(0, 15))
    return [np.asarray(Image.fromarray(frame).resize((192, 192))) for frame in frames]


@pytest.mark.parametrize("suffix", ["ts", "mts"])
def test_a_clock_that_starts_late_keeps_the_sound_in_step(
    perform: Perform, faces: list[np.ndarray], tmp_path: Path, suffix: str
) -> None:
    times = [1480 + 40 * i for i in range(15)]
    driver = encode(tmp_path / f"d.{suffix}", faces, times_ms=times, sound=(click(0.6, CLICK_S), 1.48))
    result, _ = perform(driver)
    assert (result.frames, result.fps) == (15, 25.0)
    assert click_time(result.output) == pytest.approx(CLICK_S, abs=0.04)


@pytest.mark.parametrize("picture_s", [0.0, 0.2])
def test_a_picture_that_begins_after_its_sound_stays_in_step(
    perform: Perform, faces: list[np.ndarray], tmp_path: Path, picture_s: float
) -> None:
    times = [round(1000 * picture_s) + 40 * i for i in range(15)]
    driver = encode(tmp_path / "d.mp4", faces, times_ms=times, sound=(click(0.8, CLICK_S), 0.0))
    result, _ = perform(driver)
    assert click_time(result.output) == pytest.approx(CLICK_S - picture_s, abs=0.04)


def test_a_changing_rate_is_resampled_and_stays_in_step(
    perform: Perform, faces: list[np.ndarray], tmp_path: Path
) -> None:
    times = [0, 120, 240, *range(360, 840, 40)]
    driver = encode(tmp_path / "d.mp4", faces, times_ms=times, sound=(click(0.84, 0.7), 0.0))
    result, _ = perform(driver)
    assert (result.frames, result.fps) == (21, 25.0), "0.84 s"
    assert click_time(result.output) == pytest.approx(0.7, abs=0.04)


@pytest.mark.parametrize(
    ("stored", "how"),
    [
        (lambda face: face[:, ::2], {"pixel_aspect": Fraction(2, 1)}),
        (lambda face: face, {"orientation": Orientation(True, 0)}),
        (lambda face: face, {"orientation": Orientation(True, 1)}),
    ],
    ids=["wide pixels", "mirrored", "mirrored and turned"],
)
def test_a_driver_is_seen_as_a_player_shows_it(
    perform: Perform,
    faces: list[np.ndarray],
    tmp_path: Path,
    stored: Callable[[np.ndarray], np.ndarray],
    how: dict[str, object],
) -> None:
    driver = encode(tmp_path / "d.mp4", [np.ascontiguousarray(stored(face)) for face in faces[:5]], **how)
    result, _ = perform(driver, side_by_side=True)
    assert result.driver_held == result.driver_interpolated == 0
    seen = read_frames(result.output)[0][:, SIZE : 2 * SIZE]
    expected = np.asarray(Image.fromarray(faces[0]).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    assert np.abs(seen.astype(int) - expected).mean() < 12


def test_what_a_file_lacks_is_said_and_what_it_has_is_used(
    perform: Perform, faces: list[np.ndarray], tmp_path: Path
) -> None:
    driver = encode(tmp_path / "d.mp4", faces, options={"g": "3", "bf": "0"}, container={"movflags": "faststart"})
    content = driver.read_bytes()
    driver.write_bytes(content[: round(0.7 * len(content))])
    result, lines = perform(driver)
    assert 5 < result.frames < 15
    words = f"d.mp4: the file ends too early: the last {15 - result.frames} of 15 frames"
    assert any(line.startswith(words) for line in lines)
    assert any(note.startswith(words) for note in result.notes)


def test_a_folder_of_frames_drives_at_the_rate_that_is_given(
    perform: Perform, faces: list[np.ndarray], tmp_path: Path
) -> None:
    for i, face in enumerate(faces[:11]):
        Image.fromarray(face).save(tmp_path / f"{i}.png")
    result, lines = perform(tmp_path, frames_fps=10)
    assert (result.frames, result.fps, result.audio) == (11, 10.0, False)
    assert any("a folder of 11 frames, read at 10 a second" in line for line in lines)
    assert perform(tmp_path)[0].fps == describe_tiny().fps, "the model's rate, where none is given"


def test_a_still_picture_drives_and_is_held_and_that_is_said(
    perform: Perform, faces: list[np.ndarray], tmp_path: Path
) -> None:
    Image.fromarray(faces[3]).save(tmp_path / "d.jpg")
    result, lines = perform(tmp_path / "d.jpg", still_s=0.4)
    assert result.frames == 10 and probe(result.output).fps == 25
    assert any("d.jpg: a single picture, which is held for 0.4 s" in line for line in lines)


def test_a_name_with_a_colon_is_a_file(
    perform: Perform, faces: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(tmp_path / "d.mp4", faces[:4], sound=(click(0.16, 0.1), 0.0)).rename(tmp_path / "12:30.mp4")
    monkeypatch.chdir(tmp_path)
    result, _ = perform(Path("12:30.mp4"), output=Path("13:00.mp4"))
    assert result.audio and probe(tmp_path / "13:00.mp4").has_audio


def test_a_portrait_from_a_telephone_is_read(perform: Perform, faces: list[np.ndarray], tmp_path: Path) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.fromarray(data.astronaut()).save(tmp_path / "portrait.heic")
    result, _ = perform(encode(tmp_path / "d.mp4", faces[:4]), portrait=tmp_path / "portrait.heic")
    assert result.aligned and result.portrait_faces == 1
