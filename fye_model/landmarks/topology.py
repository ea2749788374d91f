"""Which of the 478 landmark points are what: eyes, brows, lips, pupils and face oval, and how the parts are drawn.

Indices follow MediaPipe's face mesh: 0-467 are mesh vertices (in the order of the canonical mesh), 468-472 the iris of
the subject's right eye (468 its centre), 473-477 the left one's (473 its centre). "Right" and "left" are the subject's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MESH_POINTS = 468
POINTS = 478

Edge = tuple[int, int]
Colour = tuple[int, int, int]


def _path(*indices: int) -> tuple[Edge, ...]:
    """Edges of an open polyline."""
    return tuple(pairwise(indices))


def _ring(indices: tuple[int, ...]) -> tuple[Edge, ...]:
    """Edges of a closed polyline."""
    return _path(*indices, indices[0])


# Closed contours, in order around each part.
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
# Lower edge, then upper one, each from the outer end to the inner one.
RIGHT_BROW = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
LEFT_BROW = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)

RIGHT_PUPIL, LEFT_PUPIL = 468, 473
RIGHT_IRIS = (468, 469, 470, 471, 472)
LEFT_IRIS = (473, 474, 475, 476, 477)

# Eyelid middles and eye corners, lip middles and mouth corners: for openness.
RIGHT_EYE_OPENING = (159, 145, 33, 133)  # upper lid, lower lid, outer corner, inner corner
LEFT_EYE_OPENING = (386, 374, 263, 362)
MOUTH_OPENING = (13, 14, 78, 308)  # upper lip, lower lip, right corner, left corner
EYE_CORNERS = (33, 133, 362, 263)  # outer and inner of the right eye, inner and outer of the left one
OUTER_EYE_CORNERS = (33, 263)
BROW_MIDDLES = (105, 334)


@dataclass(frozen=True)
class Part:
    """A drawn part: its edges in drawing order, and its colour (RGB)."""

    name: str
    edges: tuple[Edge, ...]
    colour: Colour


# Parts and colours of the public release. Later parts are drawn over earlier ones.
CONTOUR = Part("face_oval", _ring(FACE_OVAL), (10, 200, 10))
PARTS = (
    Part("left_eye", _ring(LEFT_EYE), (180, 200, 10)),
    Part("left_brow", _path(*LEFT_BROW[:5]) + _path(*LEFT_BROW[5:]), (180, 220, 10)),
    Part("right_eye", _ring(RIGHT_EYE), (10, 200, 180)),
    Part("right_brow", _path(*RIGHT_BROW[:5]) + _path(*RIGHT_BROW[5:]), (10, 220, 180)),
    Part("inner_lower_lip_right", _path(78, 95, 88, 178, 87, 14), (100, 100, 30)),
    Part("inner_lower_lip_left", _path(14, 317, 402, 318, 324, 308), (100, 150, 50)),
    Part("inner_upper_lip_right", _path(78, 191, 80, 81, 82, 13), (120, 100, 200)),
    Part("inner_upper_lip_left", _path(13, 312, 311, 310, 415, 308), (150, 120, 100)),
)
PUPIL_COLOUR: Colour = (255, 0, 0)
PUPILS = (LEFT_PUPIL, RIGHT_PUPIL)  # in drawing order

EXPRESSION_POINTS: tuple[int, ...] = tuple(
    sorted({index for part in PARTS for edge in part.edges for index in edge} | set(PUPILS))
)


def interocular_distance(points: np.ndarray) -> np.ndarray:
    """Distance between the outer corners of the eyes: the interocular distance (IOD), in which this project measures
    landmark errors, motion and speed. About 9 cm of an adult's face; the pupils are about 6.3 cm apart.

    points: (..., 468 or 478, d) -> (...), in the unit of the points, which must be the same along all axes.
    """
    right, left = (points[..., corner, :] for corner in OUTER_EYE_CORNERS)
    result: np.ndarray = np.linalg.norm(right - left, axis=-1)
    return result
