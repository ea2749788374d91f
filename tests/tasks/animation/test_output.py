"""Results as mp4, WebM, GIF, WebP and PNG pictures: length, rate, sound, transparency, and what cannot be written."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from skimage import data

from tasks.animation.output import Codec, Encoding, check_encoding, write_result
from tasks.media.read import probe
from tests.tasks.performing import FRAMES
from tests.tasks.videos import click, click_time, encode

FPS = 30.0
SIDE = 64


@pytest.fixture
def frames() -> list[np.ndarray]:
    """A light square that moves over a smooth ground."""
    y, x = np.mgrid[:SIDE, :SIDE]
    ground = np.stack([x * 2, y * 2, np.full_like(x, 90)], axis=-1).astype(np.uint8)
    made = []
    for index in range(12):
        frame = ground.copy()
        frame[20:40, 4 * index : 4 * index + 16] = (240, 200, 60)
        made.append(frame)
    return made


@pytest.fixture
def sound(tmp_path: Path, frames: list[np.ndarray]) -> Path:
    return encode(tmp_path / "sound.mp4", frames * 4, sound=(click(1.5, 0.7), 0.0))


def moving(path: Path) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(path) as image:
        pictures, times = [], []
        for index in range(image.n_frames):
            image.seek(index)
            pictures.append(np.asarray(image.convert("RGBA")))
            times.append(image.info["duration"])
    return pictures, times


@pytest.mark.parametrize(("name", "off"), [("x.gif", 12), ("x.webp", 6)])
def test_gif_and_webp_hold_every_frame_for_its_time(
    tmp_path: Path, frames: list[np.ndarray], name: str, off: float
) -> None:
    assert write_result(tmp_path / name, iter(frames), FPS, Encoding(), None, 0.0) == 12
    pictures, times = moving(tmp_path / name)
    assert len(pictures) == 12 and abs(sum(times) - 400) <= 10, "thirtieths are rounded, and do not add up"
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(picture[..., :3].astype(int) - frame).mean() < off


def test_a_name_without_an_ending_is_a_folder_of_pictures_with_the_sound(
    tmp_path: Path, frames: list[np.ndarray], sound: Path
) -> None:
    write_result(tmp_path / "seq", iter(frames), FPS, Encoding(), sound, 0.5)
    names = sorted(path.name for path in (tmp_path / "seq").iterdir())
    assert names == [*(f"{index:06d}.png" for index in range(12)), "sound.flac"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "seq" / "000007.png")), frames[7])
    assert click_time(tmp_path / "seq" / "sound.flac") == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(("name", "codec", "audio"), [("x.webm", "vp9", "opus"), ("x.mp4", "h265", "aac")])
def test_other_codecs_keep_rate_frames_and_sound_in_step(
    tmp_path: Path, frames: list[np.ndarray], sound: Path, name: str, codec: str, audio: str
) -> None:
    write_result(tmp_path / name, iter(frames * 3), FPS, Encoding(codec=codec), sound, 0.3)
    with av.open(str(tmp_path / name)) as file:
        assert {"vp9": "vp9", "h265": "hevc"}[codec] == file.streams.video[0].codec_context.name
        assert file.streams.audio[0].codec_context.name.endswith(audio)
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(decoded) == 36 and float(probe(tmp_path / name).fps) == pytest.approx(FPS)
    assert np.abs(decoded[7].astype(int) - frames[7]).mean() < 8
    assert click_time(tmp_path / name) == pytest.approx(0.4, abs=0.04)


@pytest.mark.parametrize(("name", "codec"), [("x.mp4", "h264"), ("x.mp4", "h265"), ("x.webm", "vp9")])
def test_every_codec_means_the_same_colours_and_says_which(tmp_path: Path, name: str, codec: Codec) -> None:
    """Numbers of one colour space that a player takes for another turn red into orange."""
    red = np.full((SIDE, SIDE, 3), (200, 30, 30), np.uint8)
    write_result(tmp_path / name, [red] * 3, FPS, Encoding(codec=codec), None, 0.0)
    with av.open(str(tmp_path / name)) as file:
        frame = next(file.decode(video=0))
    luma = 16 + 219 * (np.array([200, 30, 30]) / 255) @ (0.2126, 0.7152, 0.0722)  # BT.709
    assert frame.to_ndarray(format="yuv420p")[0, 0] == pytest.approx(luma, abs=2)
    assert (frame.colorspace, frame.color_range) == (1, 1), "BT.709, limited range"


def test_quality_makes_files_smaller(tmp_path: Path, frames: list[np.ndarray]) -> None:
    noisy = [
        np.random.default_rng(i).integers(0, 255, frame.shape).astype(np.uint8) // 4 + frame // 2
        for i, frame in enumerate(frames)
    ]
    for ending, good, poor in ((".mp4", 10, 40), (".webp", 95, 10)):
        sizes = []
        for quality in (good, poor):
            write_result(tmp_path / f"q{ending}", iter(noisy), FPS, Encoding(quality=quality), None, 0.0)
            sizes.append((tmp_path / f"q{ending}").stat().st_size)
        assert sizes[1] < 0.6 * sizes[0], ending


@pytest.mark.parametrize("name", ["a.webm", "a.webp", "a.gif", "a"])
def test_transparency_is_kept(tmp_path: Path, frames: list[np.ndarray], name: str) -> None:
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    alpha[:, : SIDE // 2] = 255
    write_result(tmp_path / name, iter(frames), FPS, Encoding(alpha=True), None, 0.0, alpha)
    if name == "a":
        picture = np.asarray(Image.open(tmp_path / "a" / "000003.png"))
    elif name == "a.webm":
        with av.open(str(tmp_path / name)) as file:
            codec = av.CodecContext.create("libvpx-vp9", "r")  # FFmpeg's own decoder passes transparency over
            packets = [packet for packet in file.demux(video=0) if packet.size]
            picture = [frame for packet in packets for frame in codec.decode(packet)][3].to_ndarray(format="rgba")
    else:
        picture = moving(tmp_path / name)[0][3]
    assert picture.shape[2] == 4
    assert picture[:, :28, 3].min() > 200 and picture[:, 36:, 3].max() < 50


@pytest.mark.parametrize(
    ("name", "encoding", "message"),
    [
        ("x.avi", {}, "does not end in .mp4, .webm, .gif or .webp"),
        ("x.mp4", {"alpha": True}, "mp4 has no transparency"),
        ("x.mp4", {"codec": "vp9"}, "codec vp9 goes into .webm"),
        ("x.gif", {"quality": 3}, "no quality to choose"),
        ("x.mp4", {"quality": 60}, "expected 0 to 51"),
        ("full", {}, "holds other things"),
        ("folder.mp4", {}, "is a folder"),
    ],
)
def test_what_no_writer_can_do_is_refused_first(tmp_path: Path, name: str, encoding: dict, message: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ValueError, match=message):
        check_encoding(tmp_path / name, Encoding(**encoding))


def test_a_transparent_portrait_stays_transparent_where_it_was(perform, tmp_path: Path) -> None:
    rgba = np.dstack([data.astronaut(), np.full((512, 512), 255, np.uint8)])
    rgba[:, :100, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "cut-out.png")
    row, _, _ = perform(tmp_path / "cut-out.png", output=tmp_path / "out.webp", alpha=True, paste_back=True)
    pictures, _ = moving(tmp_path / "out.webp")
    assert row.frames == len(pictures) == FRAMES and pictures[0].shape == (512, 512, 4)
    assert pictures[4][:, :90, 3].max() == 0 and pictures[4][:, 110:, 3].min() == 255
