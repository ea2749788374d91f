"""The rate at which a video is to be shown, from the times of its frames and not from what its header says of them."""

from __future__ import annotations

import numpy as np

_STEADY = (0.5, 1.5)  # steps between frames, over the usual one: what lies between is jitter of a constant rate
_USUAL_FPS = (24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 48.0, 50.0, 60000 / 1001, 60.0)
_AT_ONCE_S = 1 / 250  # between frames that are not steady; what makes times rise by a tick writes such steps
_NEAR = 0.002  # relative: a rate so near to a usual one is that one


def rate_of(times_s: np.ndarray, claimed_fps: float) -> float:
    """Frames a second of frames at these times, in any order, each shown until the next.

    Of a constant rate, with jitter or without, it is that rate. Where the rate changes it is the faster one, so that no
    motion is lost: the mean step among those that are not much longer than the shortest. Of frames that then come
    within 4 ms of each other the first counts. With fewer than two frames it is what is claimed.
    """
    times = np.unique(times_s)
    if len(times) < 2:
        return claimed_fps
    if not _steady(times):
        times = times[np.diff(times, prepend=-np.inf) >= _AT_ONCE_S]
    if len(times) < 2:
        return claimed_fps
    steps = np.diff(times)
    if _steady(times):
        fps = (len(times) - 1) / (times[-1] - times[0])
    else:
        short = np.quantile(steps, 0.1)
        fps = 1 / steps[steps <= _STEADY[1] * short].mean()
    nearest = min((claimed_fps, *_USUAL_FPS), key=lambda usual: abs(usual / fps - 1))
    return float(nearest if abs(nearest / fps - 1) < _NEAR else fps)


def _steady(times: np.ndarray) -> bool:
    steps = np.diff(times)
    relative = steps / np.median(steps)
    return bool(_STEADY[0] <= relative.min() and relative.max() <= _STEADY[1])
