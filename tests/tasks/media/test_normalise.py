"""Whatever the source, the normalised copy is constant-rate, upright, even and repeatable, and losses are counted."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from fye_model.config import IngestConfig
from tasks.engine.items import Quarantine
from tasks.media.audio import write_audio
from tasks.media.normalise import normalise
from tasks.media.orientation import Orientation
from tasks.media.read import VideoReader, count_frames, probe, read_frames
from tasks.media.shown import at_constant_rate
from tasks.media.span import SpanFacts, TakenSpan, held_frames
from tests.tasks.videos import (
    assert_upright,
    claims_frames,
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


def copy_of(source: Path, out: Path, config: IngestConfig | None = None, **span: float) -> TakenSpan:
    """The normalised copy of a source in `out`: video.mp4, times.npy of its frames, and audio.flac."""
    out.mkdir(exist_ok=True)
    taken, times = normalise(source, out / "video.mp4", config or IngestConfig(), SpanFacts(**span))
    np.save(out / "times.npy", times)
    if taken.has_audio:
        assert write_audio(source, out / "audio.flac", taken.start_s, taken.start_s + taken.duration_s)
    return taken


def kept_numbers(out: Path) -> list[int]:
    return [number_of(image) for image in read_frames(out / "video.mp4")]


# --- picking frames by time ---


def times_at(times: list[float], fps: float, last: float) -> list[float]:
    steps = [b - a for a, b in zip(times, [*times[1:], times[-1] + last], strict=True)]
    return [time for time, _ in at_constant_rate(zip(times, steps, times, strict=True), fps)]


def test_the_same_rate_keeps_every_frame_once() -> None:
    times = [7 + i / 25 for i in range(100)]
    assert times_at(times, 25.0, 0.04) == times


def test_another_rate_picks_the_nearest_frame_and_keeps_the_length() -> None:
    times = [i / 30 for i in range(300)]
    picked = times_at(times, 25.0, 1 / 30)
    assert len(picked) == 250
    assert max(abs(time - k / 25) for k, time in enumerate(picked)) <= 1 / 60 + 1e-6


def test_a_late_frame_is_bridged_by_its_nearest_neighbours() -> None:
    assert times_at([0.0, 0.04, 0.20, 0.24], 25.0, 0.04) == [0.0, 0.04, 0.04, 0.04, 0.20, 0.20, 0.24]


# --- the normalised copy ---


def test_the_row_describes_the_file(tmp_path: Path) -> None:
    source = encode(tmp_path / "s.mp4", numbered(30))
    row = copy_of(source, tmp_path / "out")
    info = probe(tmp_path / "out" / "video.mp4")
    assert (row.frames, row.width, row.height, row.fps) == (30, 64, 48, 25.0)
    assert (info.width, info.height, info.fps, info.pixel_format) == (64, 48, 25.0, "yuv420p")
    assert count_frames(tmp_path / "out" / "video.mp4") == 30
    assert row.duration_s == pytest.approx(1.2)
    assert row.source_codec == "h264"
    assert not (row.has_audio or row.corrupt_frames or row.missing_frames or row.held_frames)
    assert sorted(os.listdir(tmp_path / "out")) == ["times.npy", "video.mp4"]


def test_the_same_source_gives_the_same_bytes_and_row_from_any_place(tmp_path: Path) -> None:
    source = encode(tmp_path / "s.mp4", numbered(40), sound=(click(1.6, 0.5), 0.0))
    other = tmp_path / "elsewhere.mp4"
    other.write_bytes(source.read_bytes())
    assert copy_of(source, tmp_path / "a") == copy_of(other, tmp_path / "b")
    for name in ("video.mp4", "times.npy", "audio.flac"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_source_in_any_of_eight_orientations_becomes_upright(tmp_path: Path, mirrored: bool, turns: int) -> None:
    orientation = Orientation(mirrored, turns)
    row = copy_of(encode(tmp_path / "s.mp4", numbered(5), orientation=orientation), tmp_path / "out")
    assert (row.width, row.height, row.mirrored, row.rotation) == (64, 48, mirrored, 90 * turns)
    assert probe(tmp_path / "out" / "video.mp4").orientation.upright
    assert_upright(read_frames(tmp_path / "out" / "video.mp4")[0])
    assert kept_numbers(tmp_path / "out") == [0, 1, 2, 3, 4]


def test_odd_sides_lose_a_row_and_a_column_and_are_not_rescaled(tmp_path: Path) -> None:
    images = numbered(4, 67, 51)
    source = encode(tmp_path / "s.mkv", images, codec="ffv1", pixels="yuv444p")
    row = copy_of(source, tmp_path / "out", IngestConfig(crf=1))
    assert (row.width, row.height) == (66, 50)
    edge = images[0][:50, :66].astype(int)
    assert np.abs(read_frames(tmp_path / "out" / "video.mp4")[0] - edge)[:, 36:].mean() < 2


def test_large_sources_are_reduced_and_small_ones_left_alone(tmp_path: Path) -> None:
    source = encode(tmp_path / "s.mp4", numbered(4, 320, 180))
    row = copy_of(source, tmp_path / "small", IngestConfig(max_side=160))
    assert (row.width, row.height) == (160, 90)
    assert_upright(read_frames(tmp_path / "small" / "video.mp4")[0])
    row = copy_of(source, tmp_path / "same", IngestConfig(max_side=4000))
    assert (row.width, row.height) == (320, 180)


@pytest.mark.parametrize(
    ("aspect", "max_side", "size"),
    [
        *((Fraction(4, 3), 1920, (84, 48)), (Fraction(3, 4), 1920, (64, 64))),
        *((Fraction(4, 3), 64, (64, 36)), (Fraction(1, 2), 64, (42, 64))),
    ],
)
def test_oblong_pixels_become_square_without_losing_lines_or_columns_below_the_longest_side_that_is_wanted(
    tmp_path: Path, aspect: Fraction, max_side: int, size: tuple[int, int]
) -> None:
    source = encode(tmp_path / "s.mp4", numbered(4, 64, 48), pixel_aspect=aspect)
    row = copy_of(source, tmp_path / "out", IngestConfig(max_side=max_side))
    assert (row.width, row.height) == size
    assert_upright(read_frames(tmp_path / "out" / "video.mp4")[0])


@pytest.mark.parametrize(
    "how",
    [
        {"pixels": "yuv420p10le"},
        {"pixels": "yuvj420p"},
        {"pixels": "yuv444p"},
        {"matrix": 1},
        {"matrix": 5},
        {"codec": "libsvtav1", "options": {"preset": "12"}},
        {"codec": "libvpx-vp9"},
        {"codec": "libvpx-vp9", "matrix": 1, "colour": {"colorspace": 1, "color_range": 2}},
        {"codec": "ffv1", "pixels": "bgr0"},
    ],
    ids=str,
)
def test_colours_survive_whatever_the_source_stores_them_as(tmp_path: Path, how: dict[str, Any]) -> None:
    source = encode(tmp_path / ("s.mkv" if how.get("codec") == "ffv1" else "s.mp4"), numbered(6, 128, 96), **how)
    copy_of(source, tmp_path / "out")
    frames = read_frames(tmp_path / "out" / "video.mp4", [0, 5])
    assert_upright(frames[0], tolerance=6)
    assert number_of(frames[1]) == 5


def test_interlaced_video_is_deinterlaced(tmp_path: Path) -> None:
    # the odd rows come first, the even ones half a frame later
    woven = [weave(bar_at(8 * i + 4), bar_at(8 * i)) for i in range(12)]
    row = copy_of(
        encode(tmp_path / "s.mkv", woven, options={"x264-params": "bff=1", "flags": "+ilme+ildct"}), tmp_path / "out"
    )
    assert (row.frames, row.interlaced_frames) == (12, 12)
    assert row.notes == ("12 interlaced frames are deinterlaced",)
    for i, frame in enumerate(read_frames(tmp_path / "out" / "video.mp4")):
        assert np.abs(np.diff(frame[8:-8].astype(int), axis=0)).mean() < 0.5, "rows that differ are a comb"
        assert np.abs(frame.astype(int) - bar_at(8 * i)).mean() < 5, "the picture of the first half's instant"


def bar_at(left: int) -> np.ndarray:
    image = np.full((96, 128, 3), 30, np.uint8)
    image[:, left : left + 16] = 220
    return image


def weave(even: np.ndarray, odd: np.ndarray) -> np.ndarray:
    woven = even.copy()
    woven[1::2] = odd[1::2]
    return woven


def test_a_stream_without_any_times_is_read_at_its_nominal_rate(tmp_path: Path) -> None:
    row = copy_of(encode(tmp_path / "s.h264", numbered(10)), tmp_path / "out")
    assert kept_numbers(tmp_path / "out") == list(range(10))
    assert row.unordered_frames == 0


def test_hdr_is_brought_to_the_range_of_everything_else(tmp_path: Path) -> None:
    hlg = {"colorspace": 9, "color_primaries": 9, "color_trc": 18, "color_range": 1}
    source = encode(tmp_path / "s.mp4", numbered(3), codec="libx264", pixels="yuv420p10le", matrix=9, colour=hlg)
    row = copy_of(source, tmp_path / "out")
    assert row.tone_mapped == "HLG"
    assert any("HLG (HDR)" in note for note in row.notes)
    with VideoReader(tmp_path / "out" / "video.mp4") as reader:
        frame = next(iter(reader))
    assert (frame.colorspace, frame.color_trc, frame.color_primaries) == (1, 1, 1)


def test_variable_rate_becomes_constant_and_repeats_are_flagged(tmp_path: Path) -> None:
    times = [0, 40, 80, 280, 320, 1000, 1040]
    row = copy_of(encode(tmp_path / "s.mp4", numbered(7), times_ms=times), tmp_path / "out")
    kept = np.load(tmp_path / "out" / "times.npy")
    assert row.frames == len(kept) == 27
    assert [round(time * 1000) for time in kept] == [times[n] for n in kept_numbers(tmp_path / "out")]
    assert np.abs(kept - np.arange(27) / 25).max() <= 0.34 + 1e-6
    assert row.held_frames == sum(held_frames(kept)) == 27 - 7


def test_a_span_is_cut_at_its_times(tmp_path: Path) -> None:
    source = encode(tmp_path / "s.mp4", numbered(38), sound=(click(1.5, 0.6), 0.0), options={"g": "10"})
    row = copy_of(source, tmp_path / "out", start_s=0.4, end_s=0.8)
    assert kept_numbers(tmp_path / "out") == list(range(10, 20))
    assert row.start_s == pytest.approx(0.4)
    assert click_time(tmp_path / "out" / "audio.flac") == pytest.approx(0.2, abs=0.005)
    assert copy_of(source, tmp_path / "begin", IngestConfig(max_seconds=0.2)).frames == 5


@pytest.mark.parametrize("audio_start", [0.0, 0.5])
def test_sound_keeps_its_place_relative_to_the_first_frame(tmp_path: Path, audio_start: float) -> None:
    frames = numbered(38)
    times = [200 + 40 * i for i in range(38)]  # the picture starts at 0.2 s
    source = encode(tmp_path / "s.mkv", frames, times_ms=times, sound=(click(1.0, 0.3), audio_start))
    row = copy_of(source, tmp_path / "out")
    assert row.has_audio
    assert click_time(tmp_path / "out" / "audio.flac") == pytest.approx(audio_start + 0.3 - row.start_s, abs=0.01)


# --- damage ---


def cut_short(tmp_path: Path, share: float, suffix: str = "mp4") -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), np.uint8)
    source = faststart(tmp_path / f"s.{suffix}", noise, options={"g": "10", "bf": "0"})
    content = source.read_bytes()
    source.write_bytes(content[: round(share * len(content))])
    return source


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_half_a_download_is_used_as_far_as_it_goes_and_says_what_is_missing(tmp_path: Path, suffix: str) -> None:
    row = copy_of(cut_short(tmp_path, 0.5, suffix), tmp_path / "out")
    assert 18 <= row.frames <= 26 and row.corrupt_frames + row.refused_packets <= 1
    assert row.missing_frames == pytest.approx(50 - row.frames, abs=1)
    assert any("ends too early" in note and f"last {row.missing_frames} of" in note for note in row.notes)


def test_the_frame_in_which_a_file_ends_is_missing_not_damaged(tmp_path: Path) -> None:
    row = copy_of(cut_short(tmp_path, 0.97), tmp_path / "out")
    assert (row.missing_frames, row.corrupt_frames + row.refused_packets) == (2, 0)
    assert row.frames == 48


def damaged(tmp_path: Path, hit: list[int]) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (50, 96, 128, 3), np.uint8)
    return damage(faststart(tmp_path / "s.mp4", noise, options={"g": "1", "bf": "0"}), hit)


def test_damaged_frames_are_left_out_and_counted(tmp_path: Path) -> None:
    row = copy_of(damaged(tmp_path, [20, 31]), tmp_path / "out")
    assert row.corrupt_frames + row.refused_packets == 2
    assert (row.frames, row.source_frames, row.held_frames) == (50, 48, 2)
    assert 0.8 not in np.load(tmp_path / "out" / "times.npy").round(3)


def test_much_damage_is_quarantined(tmp_path: Path) -> None:
    with pytest.raises(Quarantine) as caught:
        copy_of(damaged(tmp_path, list(range(10, 20))), tmp_path / "out")
    assert caught.value.reason == "corrupt"
    assert copy_of(damaged(tmp_path, list(range(10, 20))), tmp_path / "out", IngestConfig(max_corrupt_fraction=0.3))


def test_a_hole_in_time_is_quarantined_with_its_place(tmp_path: Path) -> None:
    times = [0, 40, 80, 5000, 5040]
    with pytest.raises(Quarantine, match=r"from 0\.08 s to 5\.00 s") as caught:
        copy_of(encode(tmp_path / "s.mp4", numbered(5), times_ms=times), tmp_path / "out")
    assert caught.value.reason == "time_gap"


def test_of_a_billion_claimed_frames_those_are_used_that_are_there(tmp_path: Path) -> None:
    honest = encode(tmp_path / "s.avi", numbered(20), codec="mpeg4")
    row = copy_of(claims_frames(tmp_path / "over.avi", honest, 10**9), tmp_path / "out")
    assert row.source_frames == 20 and row.missing_frames > 10**8
    assert count_frames(tmp_path / "out" / "video.mp4") == row.frames <= 20


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_whatever_bytes_are_wrong_a_file_costs_only_itself(tmp_path: Path, suffix: str) -> None:
    """Bytes are overwritten here and there, in the head, at the end, or as a block of ones; nothing but a `Quarantine`
    comes out, and what does come out whole is a video."""
    codec = "mpeg4" if suffix == "avi" else "libx264"
    noise = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), np.uint8)
    content = encode(tmp_path / f"s.{suffix}", noise, codec=codec, sound=(click(0.4, 0.1), 0.0)).read_bytes()
    draw = np.random.default_rng(5)
    places = [(0, len(content), 30), (0, 800, 12), (len(content) - 900, len(content), 12)]
    for number in range(24):
        changed = bytearray(content)
        if number % 4 == 3:
            begin = int(draw.integers(len(content)))
            changed[begin : begin + 300] = b"\xff" * len(changed[begin : begin + 300])
        else:
            begin, end, most = places[number % 4]
            for at in draw.integers(begin, end, int(draw.integers(1, most))):
                changed[at] = draw.integers(256)
        (tmp_path / "bad").write_bytes(changed)
        try:
            row = copy_of(tmp_path / "bad", tmp_path / f"out{number}")
        except Quarantine as bad:
            assert bad.reason and str(tmp_path / "bad") in bad.message
        else:
            assert row.frames == count_frames(tmp_path / f"out{number}" / "video.mp4")


def test_a_file_without_one_good_frame_says_so_also_where_it_promises_many(tmp_path: Path) -> None:
    content = bytearray(encode(tmp_path / "s.mkv", numbered(20)).read_bytes())
    with av.open(str(tmp_path / "s.mkv")) as file:
        for packet in [packet for packet in file.demux(video=0) if packet.size]:
            begin = content.index(bytes(packet))
            content[begin : begin + packet.size] = b"\xff" * packet.size
    (tmp_path / "bad.mkv").write_bytes(content)
    with pytest.raises(Quarantine) as caught:
        copy_of(tmp_path / "bad.mkv", tmp_path / "out")
    assert caught.value.reason in ("no_frames", "corrupt")


def test_a_picture_is_not_a_video(tmp_path: Path) -> None:
    with pytest.raises(Quarantine) as caught:
        copy_of(encode(tmp_path / "s.mp4", numbered(1)), tmp_path / "out")
    assert caught.value.reason == "one_frame"


def test_a_span_beyond_the_end_is_quarantined(tmp_path: Path) -> None:
    with pytest.raises(Quarantine) as caught:
        copy_of(encode(tmp_path / "s.mp4", numbered(20)), tmp_path / "out", start_s=100.0)
    assert caught.value.reason == "no_frames"


def test_a_silly_span_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="start_s < end_s"):
        copy_of(encode(tmp_path / "s.mp4", numbered(20)), tmp_path / "out", start_s=2.0, end_s=1.0)


def test_sound_that_cannot_be_decoded_costs_only_the_sound(tmp_path: Path) -> None:
    source = encode(tmp_path / "s.mkv", numbered(20), sound=(click(0.8, 0.2), 0.0))
    row = copy_of(patched(tmp_path / "mute.mkv", source, b"A_AAC", b"A_ZZZ"), tmp_path / "out")
    assert (row.frames, row.has_audio) == (20, False)
    assert "cannot be decoded" in row.audio_problem


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    source = encode(tmp_path / "s.mp4", numbered(5))
    source.chmod(0)
    with pytest.raises(Quarantine, match="permission") as caught:
        copy_of(source, tmp_path / "out")
    assert caught.value.reason == "unreadable"


def test_a_full_disk_is_no_quarantine(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (50, 96, 128, 3), np.uint8)
    source = encode(tmp_path / "s.mp4", noise, options={"crf": "10"})
    (tmp_path / "out").mkdir()
    script = (
        "import resource, sys; from pathlib import Path; from fye_model.config import IngestConfig\n"
        "from tasks.media.normalise import normalise\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: normalise(Path(sys.argv[1]), Path(sys.argv[2]) / 'video.mp4', IngestConfig())\n"
        "except OSError as error: print('OSError', error.errno)\n"
    )
    command = [sys.executable, "-c", script, str(source), str(tmp_path / "out")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("OSError"), ran
    assert list((tmp_path / "out").iterdir()) == []


def test_real_clips_keep_their_length_sound_and_frames(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "source_videos" / "s13.mp4"
    row = copy_of(source, tmp_path / "out")
    assert (row.frames, row.width, row.height, row.has_audio) == (103, 720, 1080, True)
    there, here = read_frames(source, [50])[0], read_frames(tmp_path / "out" / "video.mp4", [50])[0]
    assert np.abs(there.astype(int) - here).mean() < 2
    with av.open(str(tmp_path / "out" / "audio.flac")) as sound:
        assert sound.duration is not None
        assert sound.duration / av.time_base == pytest.approx(4.12, abs=0.03)
