"""From where to where the training clips' frames lie, and other values brought softly into such a range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_COMMON = 0.99  # of the frames lie within the range; the rest is too rare to be learned


def common_ends(values: np.ndarray) -> np.ndarray:
    """From and to of 99% of the frames: (f, n) -> (n, 2)."""
    ends: np.ndarray = np.quantile(values, [(1 - _COMMON) / 2, (1 + _COMMON) / 2], axis=0).T
    return ends


def check_ordered(names: Sequence[str], ranges: np.ndarray) -> None:
    """Raise ValueError for a range (n, 2) whose ends are the wrong way round."""
    for name, (low, high) in zip(names, ranges, strict=True):
        if low > high:
            raise ValueError(f"{name} is [{low}, {high}]; expected the lower end first")


def kept_softly(wanted: np.ndarray, own: np.ndarray, low: np.ndarray, high: np.ndarray, knee: np.ndarray) -> np.ndarray:
    """Values (f, n) brought between low and high, slowing down over the last `knee`; all the others broadcast."""
    kept = wanted.copy()
    for side, sign in ((high, 1.0), (low, -1.0)):
        # the knee ends where the portrait's own value is, so that this stays exactly where it is
        room = np.minimum(knee, np.maximum(sign * (side - own), 0))
        start = sign * side - room
        beyond = np.maximum(sign * kept - start, 0)
        soft = np.where(room > 0, room * np.tanh(beyond / np.where(room > 0, room, 1)), 0)
        kept = np.where(beyond > 0, sign * (start + soft), kept)
    return kept
