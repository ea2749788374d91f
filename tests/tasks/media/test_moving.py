"""A driver is shown at the rate of its frames' times, be it a video, a folder of frames or a still picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.engine.items import Quarantine
from tasks.media.moving import Moving, look_at
from tasks.media.orientation import Orientation
from tasks.media.timing import rate_of
from tests.tasks.media.test_normalise import cut_short
from tests.tasks.videos import assert_upright, click, encode, number_of, numbered, patched


def shown(moving: Moving) -> tuple[list[np.ndarray], tuple[str, ...], float]:
    with moving.open() as video:
        pictures = [rgb for _, rgb in video.pictures()]
        return pictures, (*moving.notes, *video.notes()), video.first_s


def numbers(moving: Moving) -> list[int]:
    return [number_of(picture) for picture in shown(moving)[0]]


@pytest.mark.parametrize(
    ("steps_ms", "fps"),
    [
        ([40] * 30, 25.0),
        ([33, 34, 33] * 20, 30.0),
        ([33.367] * 60, 30000 / 1001),
        ([30, 37, 33, 35, 31, 34] * 10, 30.0),
        ([120] * 5 + [40] * 15, 25.0),
        ([33, 33, 34, 33, 67, 33, 33, 34] * 5, 30.0),
        ([16, 17, 17] * 10 + [33, 34] * 30, 60.0),
        ([700] * 10, 1 / 0.7),
        ([0.011, 33.322, 33.333, 33.333] * 10, 30.0),
        ([2] * 20, 500.0),
    ],
    ids=[
        *("25", "30 in whole ms", "29.97", "30 with jitter", "8.3 then 25", "30 with drops", "60 then 30", "slow"),
        *("30, some twice a tick apart", "500"),
    ],
)
def test_the_rate_follows_from_the_times(steps_ms: list[float], fps: float) -> None:
    times = np.cumsum([0, *steps_ms]) / 1000 + 1.48
    assert rate_of(times, 90000.0) == pytest.approx(fps, rel=0.004)
    assert rate_of(times[::-1], fps) == fps, "a claim that fits is taken as it is"


def test_one_frame_has_the_rate_that_is_claimed() -> None:
    assert rate_of(np.array([3.0]), 25.0) == 25.0


def test_a_constant_rate_gives_every_frame_once(tmp_path: Path) -> None:
    times = [round(1000 * i / 30) for i in range(36)]
    moving = look_at(encode(tmp_path / "v.mkv", numbered(36), times_ms=times), 25.0, 2.0)
    assert moving.settings.fps == 30.0
    assert numbers(moving) == list(range(36))


def test_a_changing_rate_is_resampled_by_time(tmp_path: Path) -> None:
    times = [0, 120, 240, 360, 480, *range(600, 1200, 40)]
    moving = look_at(encode(tmp_path / "v.mp4", numbered(20), times_ms=times), 24.0, 2.0)
    assert moving.settings.fps == 25.0
    found = numbers(moving)
    assert len(found) == 30, "1.2 s of picture, as long as its sound"
    assert found == [int(np.argmin(np.abs(np.array(times) - 40 * k))) for k in range(30)]


def test_a_driver_is_shown_as_a_player_shows_it(tmp_path: Path) -> None:
    video = encode(tmp_path / "v.mp4", numbered(4, 64, 48), orientation=Orientation(True, 3))
    pictures, _, _ = shown(look_at(video, 25.0, 2.0))
    assert pictures[0].shape == (48, 64, 3)
    assert_upright(pictures[0])


def test_a_clock_that_starts_late_is_told(tmp_path: Path) -> None:
    times = [500 + 40 * i for i in range(25)]
    video = encode(tmp_path / "v.mkv", numbered(25), times_ms=times, sound=(click(1.0, 0.3), 0.0))
    moving = look_at(video, 25.0, 2.0)
    assert (moving.sound, moving.settings.fps) == (video, 25.0)
    assert shown(moving)[2] == pytest.approx(0.5)


def test_sound_that_cannot_be_decoded_is_told_at_once(tmp_path: Path) -> None:
    video = encode(tmp_path / "v.mkv", numbered(5), sound=(click(0.2, 0.1), 0.0))
    moving = look_at(patched(tmp_path / "mute.mkv", video, b"A_AAC", b"A_ZZZ"), 25.0, 2.0)
    assert moving.sound is None and "sound cannot be decoded" in moving.notes[0]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_half_a_file_gives_its_half_and_says_so(tmp_path: Path, suffix: str) -> None:
    pictures, notes, _ = shown(look_at(cut_short(tmp_path, 0.5, suffix), 25.0, 2.0))
    assert 18 <= len(pictures) <= 26
    assert any(f"last {50 - len(pictures)} of 50 frames" in note for note in notes)


def frames_in(folder: Path, count: int, suffix: str = "png") -> Path:
    folder.mkdir()
    for i, picture in enumerate(numbered(count)):
        Image.fromarray(picture).save(folder / f"f{i + 1}.{suffix}")
    return folder


def test_a_folder_is_read_as_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = frames_in(tmp_path / "frames", 12)
    (folder / ".DS_Store").write_text("x")
    (folder / "notes.txt").write_text("not a picture")
    moving = look_at(folder, 24.0, 2.0)
    pictures, notes, _ = shown(moving)
    assert [number_of(picture) for picture in pictures] == list(range(12)), "f2 comes before f10"
    assert_upright(pictures[0])
    assert (moving.settings.fps, moving.sound) == (24.0, None)
    assert notes == ("a folder of 12 frames, read at 24 a second",)


def test_a_damaged_frame_of_a_folder_costs_itself(tmp_path: Path) -> None:
    folder = frames_in(tmp_path / "frames", 6)
    content = (folder / "f4.png").read_bytes()
    (folder / "f4.png").write_bytes(content[: len(content) // 2])
    pictures, notes, _ = shown(look_at(folder, 25.0, 2.0))
    assert [number_of(picture) for picture in pictures] == [0, 1, 2, 2, 4, 5]
    assert any("1 damaged frames are left out" in note for note in notes)


def test_a_folder_without_pictures_says_what_is_in_it(tmp_path: Path) -> None:
    encode(tmp_path / "v.mp4", numbered(3))
    with pytest.raises(Quarantine, match=r"without pictures .it holds v\.mp4.; give a video"):
        look_at(tmp_path, 25.0, 2.0)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "heic", "avif", "mp4"])
def test_a_still_picture_is_held_and_that_is_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v.{suffix}"
    if suffix == "mp4":
        encode(path, numbered(1))
    else:
        import pillow_heif

        pillow_heif.register_heif_opener()
        Image.fromarray(numbered(1)[0]).save(path)
    pictures, notes, _ = shown(look_at(path, 25.0, 1.2))
    assert len(pictures) == 30
    assert_upright(pictures[-1], tolerance=16)
    assert notes == ("a single picture, which is held for 1.2 s",)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_moving_pictures_move(tmp_path: Path, suffix: str) -> None:
    first, *rest = [Image.fromarray(picture) for picture in numbered(8)]
    first.save(tmp_path / f"v.{suffix}", save_all=True, append_images=rest, duration=100, loop=0)
    moving = look_at(tmp_path / f"v.{suffix}", 25.0, 2.0)
    assert moving.settings.fps == pytest.approx(10.0)
    assert numbers(moving) == list(range(8))
