"""A video is shown in step with its sound, to one frame, and in the range of ordinary video, however it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fye_model.config import ClipConfig
from fye_model.landmarks.boxes import PixelBox
from tasks.clips import write_clips
from tasks.faces.scan import Scan
from tasks.faces.tracks import Look
from tasks.media.audio import AudioSource
from tasks.media.read import VideoReader, read_frames
from tasks.media.shown import ShownVideo, ShowSettings
from tasks.media.span import open_sound, taken_span

RATE = 16000
FRAME_S = 0.04
SECONDS = 6.0
EVENTS_S = (0.32, 0.72, 1.48, 1.76, 2.64, 3.12, 4.04, 4.36, 5.28, 5.6)  # no two gaps alike: one lag fits


def flashes_and_clicks(
    path: Path,
    *,
    picture_from_s: float = 0.0,
    sound_from_s: float = 0.0,
    holes_s: Sequence[tuple[float, float]] = (),
    silent_s: Sequence[tuple[float, float]] = (),
    clock_s: float = 0.0,
    before_s: float = 0.0,
) -> Path:
    """A white picture and a tone at each event, for one frame's time. No pictures are stored inside `holes_s`, no
    sound inside `silent_s`; both begin later than 0 where asked; the file's clock starts at `clock_s`. Before all
    events it is dark and quiet for `before_s`."""
    seconds, events = before_s + SECONDS, [before_s + event for event in EVENTS_S]
    times = [i * FRAME_S for i in range(round(seconds / FRAME_S))]
    packets: list[av.Packet] = []
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=25, options={"g": "12", "bf": "2"})
        video.width, video.height, video.pix_fmt, video.codec_context.time_base = 64, 48, "yuv420p", Fraction(1, 1000)
        audio = file.add_stream("aac", rate=RATE, layout="mono")
        samples = np.zeros(round(seconds * RATE), np.float32)
        for event in events:
            start = round(event * RATE)
            samples[start : start + round(FRAME_S * RATE)] = 0.8 * np.sin(np.arange(round(FRAME_S * RATE)) * 0.9)
        for start in range(round(sound_from_s * RATE) // 1024 * 1024, len(samples) - 1024, 1024):
            if any(a <= start / RATE < b for a, b in silent_s):
                continue
            block = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
            block.sample_rate, block.time_base, block.pts = RATE, Fraction(1, RATE), start + round(clock_s * RATE)
            packets += audio.encode(block)
        packets += audio.encode(None)
        for time in times:
            if time < picture_from_s or any(a < time < b for a, b in holes_s):
                continue
            level = 235 if any(abs(time - event) < 1e-6 for event in events) else 16
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), "rgb24").reformat(
                format="yuv420p"
            )
            frame.pts, frame.time_base = round((time + clock_s) * 1000), Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None)
        file.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))  # as recorders do: side by side
    return path


def lag_s(video: Path, sound: Path) -> float:
    """By how much the sound comes after the pictures: where the cross-correlation of their loudness is largest."""
    bright = np.repeat(read_frames(video).mean(axis=(1, 2, 3)), 40) > 120  # a value for each millisecond
    source = AudioSource(sound)
    samples = np.concatenate([block.reshape(-1, source.channels)[:, 0] for block in source.blocks(0.0)])
    source.close()
    step = source.rate // 1000
    loud = np.abs(samples[: len(samples) // step * step].reshape(-1, step).astype(int)).max(axis=1) > 3000
    size = max(len(bright), len(loud)) + 500
    a, b = (np.pad(x.astype(float), (0, size - len(x))) for x in (bright, loud))
    assert a.sum() > 80 and b.sum() > 80, "there is something to compare"
    lags = range(-500, 501)
    return lags[int(np.argmax([np.dot(a, np.roll(b, -lag)) for lag in lags]))] / 1000


CASES = {
    "plain": {},
    "clock": {"clock_s": 1.48},
    "late picture": {"picture_from_s": 0.5},
    "late sound": {"sound_from_s": 0.6},
    "holes in the picture": {"holes_s": [(0.9, 1.4), (3.2, 3.9)]},
    "holes in the sound": {"silent_s": [(0.8, 1.4), (4.5, 5.2)]},
    "all": {"picture_from_s": 0.3, "holes_s": [(0.9, 1.4), (3.2, 3.9)], "silent_s": [(1.9, 2.6)], "clock_s": 2.2},
}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("case", CASES)
def test_sound_and_pictures_stay_together(tmp_path: Path, case: str, suffix: str) -> None:
    assert_together(flashes_and_clicks(tmp_path / f"s.{suffix}", **CASES[case]), tmp_path / "clips")


LATE_S = 14.0
LATE_CASES = {
    "plain": {},
    "clock": {"clock_s": 1.48},
    "late picture": {"picture_from_s": 0.5},
    "sound begins behind the place of entry": {"sound_from_s": LATE_S - 0.5},
    "sound begins inside the span": {"sound_from_s": LATE_S + 0.6},
    "holes": {"silent_s": [(6.0, 12.0), (LATE_S + 0.8, LATE_S + 1.4)], "holes_s": [(LATE_S + 3.2, LATE_S + 3.9)]},
}


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("case", LATE_CASES)
def test_they_do_in_a_span_late_in_a_file(tmp_path: Path, case: str, suffix: str) -> None:
    source = flashes_and_clicks(tmp_path / f"s.{suffix}", before_s=LATE_S, **LATE_CASES[case])
    assert_together(source, tmp_path / "clips", LATE_S - LATE_CASES[case].get("picture_from_s", 0.0))


def assert_together(source: Path, out: Path, start_s: float = 0.0) -> None:
    """The clips of a source of six seconds behind `start_s`, cut in two at a seam, hold their sound to one frame."""
    with ShownVideo(source, ShowSettings(fps=25.0, start_s=start_s)) as shown:
        times, frames = zip(*shown.frames(), strict=True)
        sound, problem = open_sound(shown, times)
        assert sound is not None and problem is None
        taken = taken_span(shown, times, True, None)
    looks = [Look(i, (PixelBox(20, 10, 40, 30),)) for i in range(len(times))]
    scan = Scan(looks, [70], list(times), 25.0, 64, 48, shown.shape.colorspace)
    out.mkdir()
    cut = write_clips(frames, scan, taken, sound, ClipConfig(size=64), "made", out)
    sound.close()
    assert [clip.start for clip in cut.clips] == [0, 70]
    for clip in (out / "000" / "clip.mp4", out / "001" / "clip.mp4"):
        assert abs(lag_s(clip, clip)) <= FRAME_S
        with VideoReader(clip) as reader:
            assert reader.info.start_s == 0


def pq_level(nits: float) -> int:
    """The 10-bit luma, limited range, in which PQ video stores a grey of this luminance (SMPTE ST 2084)."""
    power = (nits / 10_000) ** 0.1593017578125
    signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return round(64 + 876 * signal)


def test_hdr_keeps_its_greys_up_to_the_white_of_ordinary_video(tmp_path: Path) -> None:
    """203 nits, by convention the white of a page, become white; what is brighter is cut; darker greys stay apart."""
    luminances = (0.1, 1, 10, 50, 100, 203, 1000)
    with av.open(str(tmp_path / "pq.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 32 * len(luminances), 32, "yuv420p10le"
        stream.colorspace, stream.color_primaries, stream.color_trc, stream.color_range = 9, 9, 16, 1
        frame = av.VideoFrame(stream.width, stream.height, "yuv420p10le")
        for plane in frame.planes:
            np.frombuffer(memoryview(plane), np.uint16)[:] = 512
        luma = np.frombuffer(memoryview(frame.planes[0]), np.uint16).reshape(32, -1)
        for i, nits in enumerate(luminances):
            luma[:, 32 * i : 32 * i + 32] = pq_level(nits)
        for i in range(3):
            frame.pts, frame.time_base = i, Fraction(1, 25)
            frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, 16, 1
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with ShownVideo(tmp_path / "pq.mp4", ShowSettings(fps=25.0)) as video:
        rgb = next(video.pictures())[1]
        assert video.notes() == ("PQ (HDR) is brought to the range of ordinary video",)
    greys = [int(rgb[16, 32 * i + 16, 1]) for i in range(len(luminances))]
    assert all(np.ptp(rgb[16, 32 * i + 16].astype(int)) <= 2 for i in range(len(luminances))), "grey stays grey"
    assert np.diff(greys[:6]).min() > 10
    assert greys[5] >= 245 and greys[6] == 255 and 130 <= greys[3] <= 155
