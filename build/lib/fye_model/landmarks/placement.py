"""Where faces lie in the squares of training clips, so that a portrait's face can be put at the same place.

A clip's square is laid around the face of all its frames, so a single frame's face is smaller than that, and not always
in the middle: people lean, and near a picture's border the square is moved. A portrait has one frame. Measured on
the clips, the relation of the two tells which square a clip around the portrait's face would have had.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import numpy as np
from pydantic import Field

from fye_model.config import Config, Positive
from fye_model.landmarks.boxes import PixelBox
from fye_model.landmarks.table import LandmarkSequence


class FacePlacement(Config):
    """The usual place of one frame's face box in a training clip's square, as fractions of the square's side.

    longer: median of the box's longer side; x, y: medians of its centre, from the left and from the top; frames: how
    many frames were measured.
    """

    longer: Annotated[float, Field(gt=0, le=2)]
    x: Annotated[float, Field(ge=-1, le=2)]
    y: Annotated[float, Field(ge=-1, le=2)]
    frames: Positive

    def clip_box(self, face: PixelBox, margin: float) -> PixelBox:
        """The box that a training clip's square would have been laid around, from one frame's face box.

        It is a square one: with `margin` on each side of it, the face lies at its usual place and size.
        """
        side = face.longer / self.longer
        x, y = face.centre
        middle_x, middle_y = x + (0.5 - self.x) * side, y + (0.5 - self.y) * side
        half = side / (1 + 2 * margin) / 2
        return PixelBox(middle_x - half, middle_y - half, middle_x + half, middle_y + half)


def measure_placement(clips: Iterable[LandmarkSequence]) -> FacePlacement:
    """Medians over all frames of square clips in which a face was detected.

    Raises ValueError for a clip that is not square, or when no frame shows a face.
    """
    boxes = []
    for clip in clips:
        if clip.width != clip.height:
            raise ValueError(f"expected the landmarks of square clips, got a {clip.width}x{clip.height} one")
        points = clip.points[clip.valid & ~clip.interpolated, :, :2].astype(np.float64)
        low, high = points.min(axis=1), points.max(axis=1)
        boxes.append(np.column_stack([(high - low).max(axis=1), (low + high) / 2]))
    measured = np.concatenate(boxes) if boxes else np.empty((0, 3))
    if not len(measured):
        raise ValueError("no frame of the clips shows a face: where faces lie in them cannot be measured")
    longer, x, y = (round(float(value), 5) for value in np.median(measured, axis=0))
    return FacePlacement(longer=longer, x=x, y=y, frames=len(measured))
