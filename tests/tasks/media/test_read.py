"""Any video is read as it is shown, bad files are told apart, and what is written is whole, repeatable and in sync."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.engine.items import Quarantine
from tasks.media import read
from tasks.media.audio import write_audio
from tasks.media.orientation import Orientation
from tasks.media.read import (
    VideoReader,
    count_frames,
    iter_constant_rate,
    iter_frames,
    probe,
    read_frames,
    to_rgb,
    write_video,
)
from tests.tasks.videos import (
    assert_upright,
    click,
    click_time,
    damage,
    encode,
    faststart,
    number_of,
    numbered,
    patched,
)

ROOT = Path(__file__).resolve().parents[3]


def noise(count: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Frames that do not compress, (n, h, w, 3)."""
    return np.random.default_rng(0).integers(0, 255, (count, height, width, 3), np.uint8)


def test_written_frames_come_back_in_order_with_their_colours(tmp_path: Path) -> None:
    written = write_video(tmp_path / "v.mp4", numbered(30), 25.0)
    frames = read_frames(tmp_path / "v.mp4")
    assert written == count_frames(tmp_path / "v.mp4") == len(frames) == 30
    assert [number_of(frame) for frame in frames] == list(range(30))
    assert_upright(frames[7], tolerance=3)


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    source = encode(tmp_path / "s.mp4", numbered(8), sound=(click(0.32, 0.1), 0.0))
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", noise(40), 25.0, audio=source)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_scattered_reading_by_decord_equals_reading_in_order(tmp_path: Path) -> None:
    source = encode(tmp_path / "s.mp4", numbered(8), sound=(click(3.0, 0.1), 0.0))
    video = tmp_path / "v.mp4"
    write_video(video, noise(60), 25.0, audio=source)
    whole = read_frames(video)
    order = [59, 0, 13, 13, 37]
    assert np.array_equal(read_frames(video, order), whole[order])
    assert np.array_equal(read_frames(video, slice(5, 50, 7)), whole[5:50:7])
    assert np.array_equal(read_frames(video, slice(41, None)), whole[41:])


def test_seeking_starts_at_the_very_frame_asked_for(tmp_path: Path) -> None:
    video = tmp_path / "v.mp4"
    write_video(video, noise(60), 29.97)
    whole = read_frames(video)
    for start, stop in ((0, 5), (11, 13), (12, 25), (47, 60)):
        part = np.stack([to_rgb(frame) for frame in iter_constant_rate(video, start, stop)])
        assert np.array_equal(part, whole[start:stop])


def test_scattered_reading_of_a_variable_rate_file_counts_frames_not_time(tmp_path: Path) -> None:
    times = [0, 40, 400, 440, 1900, 1940]
    video = encode(tmp_path / "v.mp4", numbered(6), times_ms=times, orientation=Orientation(False, 1))
    picked = read_frames(video, [5, 2])
    assert picked.shape == (2, 48, 64, 3)
    assert [number_of(image) for image in picked] == [5, 2]


@pytest.mark.parametrize("indices", [[3, 20], [-1], [], slice(20, 30), slice(-3, None)])
def test_frames_that_do_not_exist_are_an_index_error(tmp_path: Path, indices: list[int] | slice) -> None:
    video = encode(tmp_path / "v.mp4", numbered(20))
    with pytest.raises(IndexError, match=r"v\.mp4"):
        read_frames(video, indices)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_the_display_matrix_is_applied(tmp_path: Path, mirrored: bool, turns: int) -> None:
    orientation = Orientation(mirrored, turns)
    video = encode(tmp_path / "v.mp4", numbered(3, 64, 48), orientation=orientation)
    assert probe(video).orientation == orientation
    assert (probe(video).width, probe(video).height) == (64, 48)
    assert probe(video).coded_size == ((48, 64) if turns % 2 else (64, 48))
    assert_upright(next(iter_frames(video)))


@pytest.mark.parametrize(
    ("codec", "pixels", "suffix", "size"),
    [
        ("libsvtav1", "yuv420p", "mp4", (128, 96)),
        ("libx264", "yuv420p10le", "mp4", (64, 48)),
        ("libx264", "yuvj420p", "mp4", (64, 48)),
        ("libvpx-vp9", "yuv420p", "webm", (64, 48)),
        ("ffv1", "yuv444p", "mkv", (65, 49)),
        ("mpeg4", "yuv420p", "avi", (64, 48)),
    ],
)
def test_codecs_depths_ranges_and_odd_sizes_are_read(
    tmp_path: Path, codec: str, pixels: str, suffix: str, size: tuple[int, int]
) -> None:
    fast = {"preset": "12"} if codec == "libsvtav1" else {}
    video = encode(tmp_path / f"v.{suffix}", numbered(12, *size), codec=codec, pixels=pixels, options=fast)
    frames = list(iter_frames(video))
    assert len(frames) == 12
    assert frames[0].shape == (size[1], size[0], 3)
    assert_upright(frames[0])


def _audio_only(folder: Path) -> Path:
    video = encode(folder / "v.mp4", numbered(5), sound=(click(1.0, 0.5), 0.0))
    write_audio(video, folder / "a.flac", 0.0, 1.0)
    return (folder / "a.flac").rename(folder / "bad.mp4")


def _cover_art(folder: Path) -> Path:
    with av.open(str(folder / "bad.mp4"), "w", format="mp4") as file:
        audio = file.add_stream("aac", rate=16000, layout="mono")
        art = file.add_stream("mjpeg", rate=1)
        art.width, art.height, art.pix_fmt = 16, 16, "yuvj420p"
        art.disposition = av.stream.Disposition.attached_pic
        block = av.AudioFrame.from_ndarray(click(1.0, 0.5)[None], format="fltp", layout="mono")
        block.sample_rate = 16000
        file.mux([*audio.encode(block), *audio.encode(None)])
        file.mux([*art.encode(av.VideoFrame.from_ndarray(numbered(1, 16, 16)[0])), *art.encode(None)])
    return folder / "bad.mp4"


def _written(content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "bad.mp4").write_bytes(content)
        return folder / "bad.mp4"

    return make


def _cut_at(share_of_index: float) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        content = encode(folder / "v.mp4", numbered(20)).read_bytes()
        index = content.index(b"moov") - 4
        return _written(content[: index + round(share_of_index * (len(content) - index))])(folder)

    return make


def _huge(folder: Path) -> Path:
    small = encode(folder / "v.avi", numbered(3), codec="rawvideo", pixels="yuv420p")
    return patched(folder / "bad.avi", small, struct.pack("<II", 64, 48), struct.pack("<II", 15000, 15000))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_written(b""), "zero_bytes"),
        (_written(b"no video at all\n" * 50), "not_a_video"),
        (_audio_only, "no_video_stream"),
        (_cover_art, "no_video_stream"),
        (_cut_at(-0.1), "truncated"),
        (_cut_at(0.2), "truncated"),
        (_cut_at(0.4), "truncated"),
        (_cut_at(0.7), "truncated"),
        (_huge, "too_large"),
        (lambda folder: folder / "absent.mp4", "missing"),
        (lambda folder: folder, "not_a_file"),
    ],
    ids=[
        "zero bytes",
        "text",
        "sound only",
        "cover art",
        "cut before",
        "cut at 20%",
        "cut at 40%",
        "cut at 70%",
        "huge",
        "missing",
        "a folder",
    ],
)
def test_bad_files_are_told_apart(tmp_path: Path, make: Callable[[Path], Path], reason: str) -> None:
    path = make(tmp_path)
    with pytest.raises(Quarantine) as caught:
        probe(path)
    assert caught.value.reason == reason
    assert str(path) in caught.value.message


def test_damage_is_counted_and_reading_goes_on(tmp_path: Path) -> None:
    video = faststart(tmp_path / "v.mp4", noise(40, 128, 96), options={"g": "5", "bf": "0"})
    damage(video, [7, 22])
    with VideoReader(video) as reader:
        frames = sum(1 for _ in reader)
        assert frames + reader.refused_packets == 40
        assert 2 <= reader.corrupt_frames + reader.refused_packets <= 4


def test_nothing_is_left_when_the_frames_fail_half_way(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from numbered(10)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_video(tmp_path / "v.mp4", broken(), 25.0)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rewrite_keeps_the_old_file(tmp_path: Path) -> None:
    video = tmp_path / "v.mp4"
    write_video(video, numbered(10), 25.0)
    before = video.read_bytes()
    with pytest.raises(ValueError, match="expected uint8"):
        write_video(video, [*numbered(3), np.zeros((8, 8, 3), np.uint8)], 25.0)
    assert video.read_bytes() == before
    assert list(tmp_path.iterdir()) == [video]


def test_a_full_disk_is_an_os_error_and_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import resource, sys, numpy as np; from pathlib import Path; from tasks.media.read import write_video\n"
        "frames = np.random.default_rng(0).integers(0, 255, (40, 96, 128, 3), np.uint8)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: write_video(Path(sys.argv[1]), frames, 25.0, crf=4)\n"
        "except OSError as error: print('OSError', error.errno)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "v.mp4")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("OSError"), ran
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        ([], 25.0, "no frames"),
        (numbered(3, 63, 48), 25.0, "even sides"),
        (numbered(3), 0.0, "fps"),
        ([image.astype(np.float32) for image in numbered(2)], 25.0, "expected uint8"),
    ],
)
def test_what_cannot_be_written_says_why(tmp_path: Path, frames: list[np.ndarray], fps: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "v.mp4", frames, fps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("start_s", [0.0, 0.3])
def test_sound_stays_in_sync_from_any_start(tmp_path: Path, start_s: float) -> None:
    source = encode(tmp_path / "s.mp4", numbered(50), sound=(click(1.5, 0.7), 0.1))
    assert click_time(source) == pytest.approx(0.8, abs=0.01)
    write_video(tmp_path / "v.mp4", numbered(30), 25.0, audio=source, audio_start_s=start_s)
    assert click_time(tmp_path / "v.mp4") == pytest.approx(0.8 - start_s, abs=0.01)
    with av.open(str(tmp_path / "v.mp4")) as file:
        sound = file.streams.audio[0]
        assert sound.duration is not None and sound.time_base is not None
        assert float(sound.duration * sound.time_base) == pytest.approx(1.2, abs=0.1)


def test_square_pixels_are_what_a_file_with_oblong_ones_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = encode(tmp_path / "narrow.mp4", numbered(3, 64, 48), pixel_aspect=Fraction(3, 4))
    wide = encode(tmp_path / "wide.mp4", numbered(3, 64, 48), pixel_aspect=Fraction(4, 3))

    def shown() -> list[tuple[int, int]]:
        return [(info.width, info.height) for info in (probe(narrow), probe(wide))]

    assert shown() == [(64, 64), (85, 48)], "no line and no column is lost"
    assert probe(narrow).coded_size == (64, 48)
    monkeypatch.setattr(read, "MAX_SOURCE_PIXELS", 64 * 48)
    assert shown() == [(48, 48), (64, 36)], "larger than memory is taken to hold"
