"""Where a visitor says that the face is: five points or a box, set by clicks on the portrait."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fye_model.landmarks.few_points import NAMES

Point = tuple[float, float]
Tool = Literal["points", "box"]


@dataclass(frozen=True)
class Marks:
    """Places in pixels of the portrait as it is shown.

    points: of `NAMES`, None for one that has no place yet. corners: of a box, two of them when it is whole. ours: the
    visitor set them; else they are where the landmark model sees the face, and nothing needs to be said about it.
    """

    points: tuple[Point | None, ...] = (None,) * len(NAMES)
    corners: tuple[Point, ...] = ()
    ours: bool = False

    def clicked(self, place: Point, tool: Tool) -> Marks:
        """After a click: a point that has no place yet gets this one, in the order of `NAMES`; else the nearest moves.
        With `box`, clicks are corners; a third one begins a new box."""
        if tool == "box":
            corners = (place,) if len(self.corners) != 1 else (*self.corners, place)
            return Marks(corners=corners, ours=True)
        index = self.next_point
        if index is None:
            known = np.array(self.points, float)
            index = int(np.linalg.norm(known - place, axis=1).argmin())
        return replace(self, points=(*self.points[:index], place, *self.points[index + 1 :]), corners=(), ours=True)

    @property
    def next_point(self) -> int | None:
        """The first of `NAMES` without a place; None where all have one."""
        return next((index for index, point in enumerate(self.points) if point is None), None)

    @property
    def said(self) -> dict[str, object]:
        """`points` or `box` as `AnimateSettings` takes them; empty while nothing whole was set."""
        if not self.ours:
            return {}
        if len(self.corners) == 2:
            (x0, y0), (x1, y1) = self.corners
            return {"box": (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))}
        return {"points": self.points} if self.next_point is None else {}

    def told(self, tool: Tool) -> str:
        """What the next click does."""
        if tool == "box":
            where = "the opposite corner" if len(self.corners) == 1 else "one corner"
            return f"Click on {where} of a box around the face, from the brows to the chin."
        if self.next_point is not None:
            return f"Click on the {NAMES[self.next_point]}, as you see it ({self.next_point + 1} of {len(NAMES)})."
        return "Do the five points sit on the eyes, the nose and the corners of the mouth? A click moves the nearest."
