"""How what sets in or fades out does so."""

from __future__ import annotations

import numpy as np


def smoothstep(t: np.ndarray) -> np.ndarray:
    """From 0 to 1 while t goes from 0 to 1, level at both ends and beyond."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
