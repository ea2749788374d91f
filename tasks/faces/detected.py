"""One face as the landmark model sees it, in plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fye_model.landmarks.boxes import FractionBox, fraction_box


@dataclass(frozen=True)
class DetectedFace:
    """One face.

    points: (478, 3) float32, x and y as fractions of the picture's width and height, z in the unit of x.
    blendshapes: (52,) float32 in MediaPipe's order; None where the model has none. The pose comes from the points
    (`FaceGeometry.estimate`).
    """

    points: np.ndarray
    blendshapes: np.ndarray | None

    @cached_property
    def box(self) -> FractionBox:
        """Around the points."""
        return fraction_box(self.points)
