"""Cepstral coefficients: those of the package whose conventions they follow, and what must hold of any."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fye_model.lip_sync.sound import COEFFICIENTS, RATE_HZ, mel_filters, mfcc


def tone(hertz: float, count: int = 1600, loud: float = 8000) -> np.ndarray:
    return (loud * np.sin(2 * np.pi * hertz * np.arange(count) / RATE_HZ)).astype(np.int16)


def test_they_are_those_of_python_speech_features() -> None:
    # what its version 0.6 gives for this sound in the first window, and in the last, which is filled up with zeros
    first = (20.4293, -14.9738, -38.037, -13.6689, -42.8218, 8.1763, 54.8291, -25.4774, -28.4841, -2.4751)
    last = (20.2063, -1.5471, -23.8632, 1.7627, -35.945, 11.5901, 59.1543, -19.8338, -24.4433, 0.7548)
    found = mfcc(tone(1000) // 2 + tone(3100) // 4)
    assert found.shape == (9, COEFFICIENTS)
    np.testing.assert_allclose(found[0], (*first, -29.4434, 17.9969, 31.1408), atol=1e-3)
    np.testing.assert_allclose(found[-1], (*last, -25.1862, 19.0281, 29.5216), atol=1e-3)


def test_there_is_a_row_every_ten_milliseconds() -> None:
    for count, rows in ((1, 1), (400, 1), (401, 2), (560, 2), (561, 3), (RATE_HZ, 99)):
        assert mfcc(tone(300, count)).shape == (rows, COEFFICIENTS)


def test_louder_sound_moves_the_energy_alone() -> None:
    samples = np.random.default_rng(0).integers(-8000, 8000, 1600).astype(np.int16)
    quiet, loud = mfcc(samples), mfcc(2 * samples)
    np.testing.assert_allclose(loud[:, 0] - quiet[:, 0], np.log(4))
    np.testing.assert_allclose(loud[:, 1:], quiet[:, 1:], atol=1e-9)


def test_the_energy_is_that_of_the_emphasised_window() -> None:
    samples = tone(700, 400)
    emphasised = np.append(samples[0], samples[1:] - 0.97 * samples[:-1].astype(float))
    spectrum = np.fft.fft(emphasised, 512)[:257]
    assert mfcc(samples)[0, 0] == pytest.approx(np.log((np.abs(spectrum) ** 2).sum() / 512))


def test_silence_is_finite_and_even() -> None:
    found = mfcc(np.zeros(RATE_HZ // 5, np.int16))
    assert np.isfinite(found).all() and np.ptp(found, axis=0).max() < 1e-9


def test_filters_cover_the_spectrum_each_reaching_one_where_its_neighbours_end() -> None:
    filters = mel_filters()
    assert filters.shape == (26, 257) and filters.min() == 0 and (filters.max(axis=1) == 1).all()
    peaks = filters.argmax(axis=1)
    assert (np.diff(peaks) > 0).all() and (np.diff(np.diff(peaks)) >= -1).all(), "wider towards high tones"
    for one, other in pairwise(filters):
        assert other[one.argmax()] == 0 and one[other.argmax()] == 0
    inner = slice(peaks[0], peaks[-1] + 1)
    np.testing.assert_allclose(filters[:, inner].sum(axis=0), 1, atol=1e-12)


def test_what_is_not_one_channel_of_whole_numbers_is_refused() -> None:
    for wrong in (np.zeros((2, 400), np.int16), np.zeros(400, np.float32), np.zeros(0, np.int16)):
        with pytest.raises(ValueError, match=r"expected samples \(n,\) int16"):
            mfcc(wrong)
