"""Whether pictures in which no face could be followed would show one if they were turned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.faces.detector import FaceLandmarker

LOOKS = 3  # pictures that are looked at
_TURNS = (0, 2, 1, 3)  # quarter turns counter-clockwise; of equals the first is taken
_SAID = {1: "lying on its side (turn it by 90 degrees counter-clockwise)", 2: "upside down (turn it by 180 degrees)"}
_SAID[3] = "lying on its side (turn it by 90 degrees clockwise)"


def turned_faces(landmarker: FaceLandmarker, pictures: Sequence[np.ndarray]) -> str | None:
    """How a video lies, in words, of which these are pictures (h, w, 3) uint8; None where turning would not help.

    It lies so where more of them, and more than half, show a face turned than as they are.
    """

    counts = {turns: sum(bool(landmarker.detect(np.rot90(picture, turns))) for picture in pictures) for turns in _TURNS}
    best = max(_TURNS, key=lambda turns: counts[turns])
    if not best or 2 * counts[best] <= len(pictures):
        return None
    return f"turned, {counts[best]} of {len(pictures)} frames show a face: it is {_SAID[best]}"
