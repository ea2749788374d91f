"""How a stored picture is turned and mirrored before it is shown: the eight ways that a display matrix can ask for."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type


@dataclass(frozen=True)
class Orientation:
    """`mirrored`: left and right change sides first; then `turns` quarter turns counter-clockwise, as `np.rot90`."""

    mirrored: bool = False
    turns: int = 0

    @property
    def upright(self) -> bool:
        """Whether pictures are shown as they are stored."""
        return not self.mirrored and not self.turns

    @property
    def rotation_deg(self) -> int:
        """Degrees counter-clockwise, after the mirroring: 0, 90, 180 or 270."""
        return 90 * self.turns

    @property
    def swaps_sides(self) -> bool:
        """Whether width and height change places."""
        return self.turns % 2 == 1

    def shown(self, plane: np.ndarray) -> np.ndarray:
        """A picture or a plane (h, w, …) as it is to be shown; a view, not contiguous."""
        return np.rot90(plane[:, ::-1] if self.mirrored else plane, self.turns)


UPRIGHT = Orientation()


def from_matrix(matrix: Sequence[int]) -> Orientation:
    """The orientation of a display matrix: 9 numbers row by row, of which the first two of the first two rows count.

    They send a stored pixel (x, y), y downwards, to (m0 x + m3 y, m1 x + m4 y). Angles between are brought to the
    nearest quarter turn.
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    mirrored = a * d - b * c < 0
    right = (-a, -b) if mirrored else (a, b)  # where the right side goes, once the mirroring is undone
    if right == (0, 0):
        return UPRIGHT
    return Orientation(mirrored, round(math.atan2(-right[1], right[0]) / (math.pi / 2)) % 4)


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """What the file asks for; decoders put it on every frame, from the container or from the coded video itself."""
    # frame.side_data would be kept by the frame and hold it: a circle, and with it all of its decoder's free frames
    data: Any = SideDataContainer(frame)  # type: ignore[call-arg]  # its stub leaves that out
    for entry in data:
        if entry.type == Type.DISPLAYMATRIX:
            return from_matrix(struct.unpack("9i", bytes(entry)[:36]))
    return UPRIGHT
