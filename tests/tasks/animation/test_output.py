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
    shown = (np.dstack([frame, alpha]) for frame in frames)
    write_result(tmp_path / name, shown, FPS, Encoding(alpha=True), None, 0.0)
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


@pytest.fixture
def cut_out(tmp_path: Path) -> Path:
    """A portrait of which a disk around the head is there, a feather on it, and the shoulders, cut at the sides."""
    rows, columns = np.mgrid[:512, :512]
    head, feather = np.hypot(rows - 130, columns - 225) < 110, (rows < 60) & (abs(columns - 225) < 15)
    there = head | feather | ((rows > 200) & (abs(columns - 225) < 150))
    path = tmp_path / "cut-out.png"
    Image.fromarray(np.dstack([data.astronaut(), (there * 255).astype(np.uint8)])).save(path)
    return path


def test_transparency_goes_with_the_head_and_shoulders_stay(perform, cut_out: Path, tmp_path: Path) -> None:
    face = Image.fromarray(data.astronaut()).crop((90, 0, 370, 280)).resize((256, 256))
    tilted = [np.asarray(face.rotate(2.5 * turn, Image.Resampling.BICUBIC, fillcolor=(90,) * 3)) for turn in range(7)]
    driver = encode(tmp_path / "tilts.mp4", np.stack(tilted))
    shown = {}
    for whole in (False, True):
        output = tmp_path / f"out{whole:d}"
        row, _, _ = perform(cut_out, driving=driver, output=output, alpha=True, paste_back=whole)
        shown[whole] = [np.asarray(Image.open(path))[..., 3].astype(float) for path in sorted(output.glob("*.png"))]
        assert row.frames == len(shown[whole]) == 7
    before = np.asarray(Image.open(cut_out))[..., 3].astype(float)
    assert np.abs(shown[True][0] - before).mean() < 4, "it begins as the portrait is"
    assert np.abs(shown[True][6] - before)[:240].mean() > 0.8, "the head has moved"
    assert np.abs(shown[True][6] - before)[400:].max() == 0, "shoulders have not"
    tips = [centre(alpha[:4])[0] for alpha in shown[False]]
    assert tips[6] < tips[0] - 2, "to the left, as the driver's head tilts"


def centre(alpha: np.ndarray) -> np.ndarray:
    """x and y of what is there, y from the top of the part."""
    rows, columns = np.mgrid[: alpha.shape[0], : alpha.shape[1]]
    return np.array([(columns * alpha).sum(), (rows * alpha).sum()]) / alpha.sum()


def test_transparency_stands_still_where_no_face_is_known_and_that_is_said(perform, tmp_path: Path) -> None:
    rgba = np.full((128, 128, 4), 90, np.uint8)
    rgba[:, :30, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "wall.png")
    row, _, lines = perform(tmp_path / "wall.png", output=tmp_path / "out.webp", alpha=True)
    pictures, _ = moving(tmp_path / "out.webp")
    assert any("the transparency stands still" in line for line in lines)
    assert all((picture[..., 3] == pictures[0][..., 3]).all() for picture in pictures) and row.frames == FRAMES
