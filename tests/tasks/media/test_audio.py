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
