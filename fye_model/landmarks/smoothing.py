"""Jitter taken out of landmark trajectories without delaying or flattening blinks.

Videos are smoothed as a whole, so both filters look at the future too and have no lag; a face that is seen live has no
future (`CausalOneEuro`). Motion is measured in the face's own unit (interocular distances a second): one setting fits
every frame size and distance.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.table import LandmarkSequence

Method = Literal["none", "one_euro", "savgol"]

# One Euro filter (Casiez et al. 2012): the cutoff grows with speed. Jitter moves points at about 0.07 IOD/s, a lid in a
# blink at 0.7 IOD/s and more; the square keeps the first well filtered and lets the second through untouched.
_MIN_CUTOFF_HZ = 2.0
_CUTOFF_PER_SPEED2 = 40.0  # Hz per (IOD/s)^2
_SPEED_WINDOW_S = 0.12  # a speed lasts from this long before to this long after the motion
_SAVGOL_WINDOW_S = 0.2
_SAVGOL_ORDER = 2


def smooth_sequence(sequence: LandmarkSequence, method: Method) -> LandmarkSequence:
    """A sequence with smoothed points. Its matrix and blendshapes stay those of the detector."""
    if method == "none":
        return sequence
    aspect = np.array([sequence.width / sequence.height, 1, sequence.width / sequence.height])
    points = smooth(sequence.points * aspect, sequence.fps, method) / aspect
    return replace(sequence, points=points.astype(sequence.points.dtype))


def smooth(points: np.ndarray, fps: float, method: Method) -> np.ndarray:
    """Smooth trajectories of landmarks or of mesh vertices over time, in any unit that is equal along all axes.

    points: (f, 468 or 478, d) -> the same shape, float64. Frames with NaN stay NaN, and each run of frames between
    them is smoothed by itself; runs shorter than a filter's window are left as they are.
    """
    if method not in get_args(Method):
        raise ValueError(f"unknown smoothing method {method!r}; choose from {', '.join(get_args(Method))}")
    points = np.array(points, np.float64)
    if method == "none" or len(points) == 0:
        return points
    valid = np.isfinite(points).all(axis=(1, 2))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], valid, [False]]).astype(int)))
    for start, stop in edges.reshape(-1, 2):
        run = points[start:stop]
        points[start:stop] = _savgol(run, fps) if method == "savgol" else _one_euro(run, fps)
    return points


def _savgol(run: np.ndarray, fps: float) -> np.ndarray:
    """Savitzky-Golay: a local parabola. Keeps timing exactly; flattens a 5-frame blink by about a sixth."""
    from scipy.signal import savgol_filter  # slow to import, and a cached run needs none of it

    window = 2 * round(_SAVGOL_WINDOW_S * fps / 2) + 1
    # At low frame rates no two neighbours are close enough in time to be averaged.
    if window <= _SAVGOL_ORDER + 1 or len(run) < window:
        return run
    result: np.ndarray = savgol_filter(run, window, _SAVGOL_ORDER, axis=0)
    return result


def _one_euro(run: np.ndarray, fps: float) -> np.ndarray:
    """One Euro run forwards and backwards, and averaged: the two lags cancel.

    The speed comes from central differences averaged over three frames, and the highest within the window around a
    frame counts, so that the filter is already open when a blink begins.
    """
    from scipy.ndimage import maximum_filter1d, uniform_filter1d  # slow to import, and a cached run needs none of it

    if len(run) < 3:
        return run
    unit = np.median(topology.interocular_distance(run))
    speed = np.linalg.norm(uniform_filter1d(np.gradient(run, axis=0), 3, axis=0, mode="nearest"), axis=2) * fps / unit
    speed = maximum_filter1d(speed, 2 * round(_SPEED_WINDOW_S * fps) + 1, axis=0, mode="nearest")
    cutoff = _MIN_CUTOFF_HZ + _CUTOFF_PER_SPEED2 * speed**2
    gain = 1 / (1 + fps / (2 * np.pi * cutoff))[..., None]
    result: np.ndarray = (_low_pass(run, gain) + _low_pass(run[::-1], gain[::-1])[::-1]) / 2
    return result


def _low_pass(run: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """First-order low-pass with a gain per frame and point."""
    out = run.copy()
    for frame in range(1, len(run)):
        out[frame] = out[frame - 1] + gain[frame] * (run[frame] - out[frame - 1])
    return out


class CausalOneEuro:
    """The One Euro filter frame by frame, of a face that is seen live: what comes next is not known.

    The speed is that over the last two frames, and the highest of the last moments counts, as in `smooth`. Jitter of
    0.35% of the distance between the eyes is halved; a blink keeps 96% of its depth and is an eighth of a frame late.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, np.ndarray]] = deque(maxlen=2)
        self._speeds: deque[tuple[float, np.ndarray]] = deque()
        self._last: np.ndarray | None = None

    def __call__(self, points: np.ndarray, time_s: float) -> np.ndarray:
        """The next frame of points (478, d), in any unit that is equal along all axes, smoothed: float64.

        Raises ValueError for a time that is not behind the frame before.
        """
        points = np.array(points, np.float64)
        if self._last is None or not self._seen:
            self._last = points
        else:
            before_s, before = self._seen[0]
            passed_s = time_s - self._seen[-1][0]
            if passed_s <= 0:
                raise ValueError(f"time {time_s} s is not behind the last frame's, {self._seen[-1][0]} s")
            unit = topology.interocular_distance(points[None])[0]
            self._speeds.append((time_s, np.linalg.norm(points - before, axis=1) / (time_s - before_s) / unit))
            while time_s - self._speeds[0][0] > _SPEED_WINDOW_S + passed_s / 2:
                self._speeds.popleft()
            speed = np.max([speed for _, speed in self._speeds], axis=0)
            cutoff = _MIN_CUTOFF_HZ + _CUTOFF_PER_SPEED2 * speed**2
            gain = 1 / (1 + 1 / (2 * np.pi * cutoff * passed_s))
            self._last = self._last + gain[:, None] * (points - self._last)
        self._seen.append((time_s, points))
        return self._last

    def forget(self) -> None:
        """Begin anew: the face was lost, and what comes next is not its continuation."""
        self._seen.clear()
        self._speeds.clear()
        self._last = None
