"""Glasses, teeth and the like that come or go when the head turns, in the result and not in the truth.

The face is laid out flat (`appearance.py`), and each clip is compared with itself: how far a turned frame is from the
clip's own frames from the front. What the result changes by more than the truth is invented. A result that is blurred,
late, or does not move invents nothing; it is another metric's business.

Validated on three real clips of 256 pixels whose heads turn by 8 to 17 degrees. `docs/metrics.md` has the numbers, and
those of the drift of dlib's face embedding over yaw, which was tried for it and did not part it from other damage.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fye_model.evaluation.appearance import Region, grid
from fye_model.evaluation.compare import Comparison

NO_FACE_INVENTED = 0.1  # of a turned frame whose result has no face: more than glasses, less than a mouthful of teeth


def invented(region: Region) -> Callable[[Comparison], np.ndarray]:
    """How much more the result's face changes over the turn than the truth's, on every turned frame: (f,).

    In grey levels from 0 to 1, mean over the places of the region that both show; NaN on frames that are not turned,
    and on all where the truth does not show the face both from the front and turned.
    """

    def frames(comparison: Comparison) -> np.ndarray:
        values = np.full(len(comparison), math.nan)
        if not comparison.truth.turned.any():
            return values
        where = grid().regions[region]
        for frame in np.flatnonzero(comparison.truth.turned):
            ours, theirs = comparison.drift[frame], comparison.truth.drift[frame]
            more = np.clip(ours[where] - theirs[where], 0, None)
            if np.isfinite(more).any():
                values[frame] = np.nanmean(more)
            elif np.isnan(ours).all():
                values[frame] = NO_FACE_INVENTED
        return values

    return frames
