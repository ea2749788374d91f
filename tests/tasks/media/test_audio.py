"""Sound of any rate and with any hole is kept in its place, in little memory."""

from __future__ import annotations

import tracemalloc
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.media.audio import AudioSource, NoSoundError, write_audio
from tasks.media.write import write_video
from tests.tasks.videos import click_time, numbered


def recorded(path: Path, rate: int, at_s: float = 0.5) -> Path:
    """A second of sound at this rate, with a click."""
    times = np.arange(rate) / rate
    sound = np.where((times >= at_s) & (times < at_s + 0.02), np.sin(times * 6000), 0.0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound * 30_000).astype(np.int16).tobytes())
    return path


@pytest.mark.parametrize("rate", [8_000, 37_800, 44_100, 192_000, 384_000])
def test_sound_of_any_rate_goes_beside_pictures_and_keeps_its_place(tmp_path: Path, rate: int) -> None:
    sound = recorded(tmp_path / "s.wav", rate)
    write_video(tmp_path / "v.mp4", numbered(25), 25.0, audio=sound)
    assert click_time(tmp_path / "v.mp4") == pytest.approx(0.5, abs=0.01)
    assert write_audio(sound, tmp_path / "s.flac", 0.25, 0.75) == rate // 2
    assert click_time(tmp_path / "s.flac") == pytest.approx(0.25, abs=0.001)


def test_a_rate_that_no_sound_has_is_no_sound(tmp_path: Path) -> None:
    with pytest.raises(NoSoundError, match="no sound, or none that can be decoded"):
        AudioSource(recorded(tmp_path / "s.wav", 2_000_000))


def jumping(path: Path, *starts_s: int) -> Path:
    """Sound of a tenth of a second at each of these instants, and nothing between."""
    with av.open(str(path), "w", format="matroska") as file:
        stream = file.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for start in starts_s:
            frame = av.AudioFrame.from_ndarray(np.full((1, 4800), 1000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), start * 48_000
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def test_a_clock_that_jumps_by_hours_costs_no_memory(tmp_path: Path) -> None:
    sound = jumping(tmp_path / "s.mka", 0, 1, 7200)
    tracemalloc.start()  # not the process's peak, which what ran before may have raised
    write_video(tmp_path / "v.mp4", numbered(50), 25.0, audio=sound)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6, "bytes"


def test_holes_are_silence_to_the_sample(tmp_path: Path) -> None:
    source = AudioSource(jumping(tmp_path / "s.mka", 0, 3))
    samples = np.concatenate(list(source.blocks(0.0, 5.0)), axis=1)[0]
    source.close()
    loud = np.zeros(3 * 48_000 + 4800, np.int16)
    loud[:4800] = loud[-4800:] = 1000
    assert np.array_equal(samples, loud)


def noisy(path: Path, codec: str, seconds: int = 20, lead: int = 0) -> Path:
    """Noise and pictures whose groups last for four seconds: 48,000 numbers a second, so that bytes tell.

    lead: pictures by which the sound is stored ahead of them.
    """
    samples = np.random.default_rng(1).normal(scale=6000, size=(1, seconds * 48_000)).astype(np.int16)
    pictures: list[av.Packet] = []
    with av.open(str(path), "w", options={"max_interleave_delta": "1"}) as file:
        video = file.add_stream("libx264", rate=25, options={"g": "100"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = file.add_stream(codec, rate=48_000, layout="mono")
        for number, picture in enumerate(numbered(25 * seconds)):
            pictures += video.encode(av.VideoFrame.from_ndarray(picture, "rgb24"))
            if number >= lead:
                file.mux([pictures.pop(0) for _ in pictures[: len(pictures) - lead]])
            part = samples[:, number * 1920 : (number + 1) * 1920]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), number * 1920
            file.mux(audio.encode(frame))
        file.mux(audio.encode(None))
        file.mux([*pictures, *video.encode(None)])
    return path


def samples_of(path: Path, start_s: float, end_s: float) -> tuple[np.ndarray, int]:
    """The samples of a span, and how many bytes were read for them."""
    before = bytes_read()
    source = AudioSource(path)
    samples = np.concatenate(list(source.blocks(start_s, end_s)), axis=1)[0]
    source.close()
    return samples.astype(int), bytes_read() - before


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="no count of the bytes read on this system")
@pytest.mark.parametrize(
    ("name", "codec"),
    [("s.mov", "pcm_s16le"), ("s.mkv", "pcm_s16le"), ("s.mp4", "aac"), ("s.mkv", "aac"), ("s.mkv", "libopus")],
)
def test_a_late_span_has_the_samples_of_the_whole_without_reading_what_is_before(
    tmp_path: Path, name: str, codec: str
) -> None:
    """The span begins between two samples of the container's clock and inside a packet."""
    path = noisy(tmp_path / name, codec)
    late, read = samples_of(path, 17.3456, 18.5)
    whole, all_read = samples_of(path, 0.0, 20.0)
    assert_same_sound(late, whole[round(17.3456 * 48_000) : round(18.5 * 48_000)])
    assert read < 0.75 * all_read


@pytest.mark.parametrize("lead", [220, 500])
@pytest.mark.parametrize("name", ["s.mkv", "s.mp4"])
def test_a_late_span_of_sound_that_lies_far_from_its_pictures_is_found(tmp_path: Path, name: str, lead: int) -> None:
    """Entered by its pictures, such a file has only later sound, or none any more."""
    path = noisy(tmp_path / name, "aac", lead=lead)
    whole, late = (np.concatenate(list(AudioSource(path).blocks(start, 18.5)), axis=1)[0] for start in (0.0, 17.0))
    assert_same_sound(late.astype(int), whole[17 * 48_000 :].astype(int))


def assert_same_sound(found: np.ndarray, true: np.ndarray) -> None:
    """To the rounding of a clock in milliseconds."""
    assert found.shape == true.shape
    shifts = range(-60, 61)  # samples
    fits = [np.corrcoef(found[100:-100], np.roll(true, shift)[100:-100])[0, 1] for shift in shifts]
    assert max(fits) > 0.999 and abs(shifts[int(np.argmax(fits))]) <= 24
