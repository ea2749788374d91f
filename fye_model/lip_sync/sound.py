"""Mel-frequency cepstral coefficients, by the conventions of the package python_speech_features.

SyncNet was trained on that package's defaults, so they are kept to the letter: windows without a taper, the last one
filled up with zeros, samples on the scale of 16-bit integers, filters whose corners lie on whole bins, and the log of
the window's energy in place of the first coefficient.
"""

from __future__ import annotations

import numpy as np

RATE_HZ = 16_000
COEFFICIENTS = 13
HOP = 160  # samples: 10 ms
_WINDOW = 400  # samples: 25 ms
_FFT = 512
_FILTERS = 26
_EMPHASIS = 0.97
_LIFTER = 22
_LEAST = np.finfo(np.float64).eps  # stands in for a zero of which a log is taken


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Samples (n,) int16 at 16 kHz -> (1 + ceil((n - 400) / 160), 13) float64, one row every 10 ms.

    Raises ValueError for anything but one channel of 16-bit samples.
    """
    if samples.ndim != 1 or samples.dtype != np.int16 or not samples.size:
        raise ValueError(f"expected samples (n,) int16, got {samples.shape} {samples.dtype}")
    signal = samples.astype(np.float64)
    signal[1:] -= _EMPHASIS * signal[:-1].copy()
    count = 1 + max(0, -(-(len(signal) - _WINDOW) // HOP))
    padded = np.zeros((count - 1) * HOP + _WINDOW)
    padded[: min(len(signal), len(padded))] = signal[: len(padded)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(windows, _FFT)) ** 2 / _FFT
    loudness = np.log(np.maximum(power @ mel_filters().T, _LEAST))
    cepstrum = loudness @ _cosines() * (1 + _LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / _LIFTER))
    cepstrum[:, 0] = np.log(np.maximum(power.sum(axis=1), _LEAST))
    return np.asarray(cepstrum)


def mel_filters() -> np.ndarray:
    """(26, 257): triangles over the bins of the spectrum, their corners spread evenly in mel from 0 to 8 kHz."""
    top = 2595 * np.log10(1 + RATE_HZ / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top, _FILTERS + 2) / 2595) - 1)
    corners = np.floor((_FFT + 1) * corners_hz / RATE_HZ)
    bins = np.arange(_FFT // 2 + 1)
    low, middle, high = (corners[start : start + _FILTERS, None] for start in range(3))
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    filters = np.where(bins < middle, rising, falling)
    return np.where((bins >= low) & (bins < high), filters, 0.0)


def _cosines() -> np.ndarray:
    """(26, 13): the orthonormal cosine transform of the second kind."""
    places = (np.arange(_FILTERS) + 0.5) * np.pi / _FILTERS
    waves = np.cos(places[:, None] * np.arange(COEFFICIENTS)) * np.sqrt(2 / _FILTERS)
    waves[:, 0] /= np.sqrt(2)
    return np.asarray(waves)
