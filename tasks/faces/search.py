"""Faces that a first look misses or gets wrong: lying ones, animals, drawings. And how sure a found one is.

The landmark model is made for upright human faces. A face that is turned further than a head tilts is looked at again
with the picture turned; where nothing is found at all, the picture is turned, shrunk, bleached and cut, and what is
then found counts only if other looks at it agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
from PIL import Image, ImageOps

from fye_model.animation.portrait import Cut
from fye_model.animation.turn import Turn
from fye_model.landmarks import topology
from fye_model.landmarks.boxes import PixelBox, Square, distinct, overlap, pixel_boxes
from tasks.faces.detector import DetectedFace, FaceLandmarker, tile_starts

UPRIGHT_DEG = 20.0  # heads in videos tilt by no more: a face beyond is turned upright before it is animated
SURE = 0.012  # of the distance between the eyes: people, paintings and statues stay below
_ACCEPTED = 0.06  # of it: beyond, the looks do not show the same thing, and there is no face
_LOOK, _BLURRED_LOOK = 512, 80  # pixels of a close look; fur hides a face from the sharp one
_ROOM = 2.0  # side of a close look over the face's longer side
_LOOKS = ((0.0, 1.0), (12.0, 1.0), (-12.0, 1.0), (0.0, 1.3), (0.0, 0.8))  # turned by degrees, at a size
_QUICK = 3  # of these looks
_RIGHT_WAY_UP = 0.007  # of the distance between the eyes: quick looks differ by 0.004 at most, upside down by 0.012
_TURNS_DEG = (0.0, 90.0, -90.0, 180.0, 45.0, -45.0, 135.0, -135.0)
_SHRUNK_PX = (160, 96, 64)  # longer side: fur and brush strokes vanish, a face stays
_CROPS = (0.75, 0.5)  # sides of crops over the picture's shorter side
_EXPRESSION = list(topology.EXPRESSION_POINTS)


@dataclass(frozen=True)
class FoundFace:
    """A face in a picture.

    points_px: (478, 3) in pixels of the picture, z in their unit. tilt_deg: how far it is turned counter-clockwise from
    upright. spread: how much the landmarks of several looks differ, as a part of the distance between the eyes.
    """

    points_px: np.ndarray
    tilt_deg: float
    spread: float

    @property
    def box(self) -> PixelBox:
        return _box(self.points_px)

    @property
    def sure(self) -> bool:
        """Whether other looks at the face agree as they do for people."""
        return self.spread <= SURE


def find_faces(landmarker: FaceLandmarker, picture: Image.Image) -> list[FoundFace]:
    """All faces of a picture, largest first; further looks only where the first finds none.

    picture: upright RGB. A picture without a face costs some hundred detections.
    """
    first = list(_first_look(landmarker, picture))
    if first:
        return [first[place] for place in distinct([face.box for face in first])]  # looks at a double may have met
    for points_px in _further_looks(landmarker, picture):
        face = looked_at(landmarker, picture, points_px)
        if face is not None:
            return [face]
    return []


def _first_look(landmarker: FaceLandmarker, picture: Image.Image) -> Iterator[FoundFace]:
    for detected in landmarker.detect_all(np.asarray(picture)):
        face = looked_at(landmarker, picture, _pixels(detected, picture.size))
        if face is not None:
            yield face


def tilt_deg(points_px: np.ndarray) -> float:
    """How far a face (478, 2 or 3) is turned counter-clockwise from upright, by the line of its eyes."""
    right, left = points_px[topology.OUTER_EYE_CORNERS[0]], points_px[topology.OUTER_EYE_CORNERS[1]]
    return float(-np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0])))


def right_way_up(landmarker: FaceLandmarker, picture: Image.Image, points_px: np.ndarray) -> float | None:
    """How much three quick looks at a face differ, as a part of the distance between the eyes, where they are sure of
    it; None where they are not, as upside down, and `looked_at` has to decide."""
    looks = list(islice(_looks(landmarker, picture, points_px, tilt_deg(points_px), _LOOK), _QUICK))
    spread = _spread(looks) if len(looks) == _QUICK else np.inf
    return spread if spread <= _RIGHT_WAY_UP else None


def looked_at(landmarker: FaceLandmarker, picture: Image.Image, points_px: np.ndarray) -> FoundFace | None:
    """A face seen closely and upright, from several sides; None where these looks do not show the same face.

    Upside down the model sometimes sees an upright face: both are tried, and the one that looks agree about is taken.
    """
    found: list[tuple[float, np.ndarray]] = []
    for flip, pixels in ((0.0, _LOOK), (180.0, _LOOK), (0.0, _BLURRED_LOOK)):
        if pixels == _BLURRED_LOOK and found:
            continue
        looks = list(_looks(landmarker, picture, points_px, tilt_deg(points_px) + flip, pixels))
        if len(looks) >= 2:
            missed = len(_LOOKS) - len(looks)
            found.append((_spread(looks) + missed * SURE / 2, looks[0]))
    if not found:
        return None
    spread, points = min(found, key=lambda item: item[0])
    return FoundFace(points, tilt_deg(points), spread) if spread <= _ACCEPTED else None


def _spread(looks: Sequence[np.ndarray]) -> float:
    """Mean distance of looks (478, 3) from their mean, as a part of the distance between the eyes."""
    mean = np.mean(looks, axis=0)
    apart = [np.linalg.norm((look - mean)[_EXPRESSION, :2], axis=1).mean() for look in looks]
    return float(np.mean(apart)) / float(topology.interocular_distance(mean[:, :2]))


def _looks(
    landmarker: FaceLandmarker, picture: Image.Image, points_px: np.ndarray, tilt: float, pixels: int
) -> Iterator[np.ndarray]:
    """The face's points in pixels of the picture, (478, 3), from every look that finds it."""
    box = _box(points_px)
    for deg, size in _LOOKS:
        cut = _close_cut(picture, box, deg - tilt, size)
        faces = landmarker.detect(np.asarray(cut.picture(picture, pixels)))
        seen = [_out_of(cut, face) for face in faces]
        near = [points for points in seen if overlap(_box(points), box) > 0.3]
        if near:
            yield max(near, key=lambda points: overlap(_box(points), box))


def _close_cut(picture: Image.Image, box: PixelBox, turn_deg: float, size: float) -> Cut:
    """The square of a close look at a box of the picture, turned."""
    turn = Turn(picture.width, picture.height, turn_deg)
    x, y = turn.there(np.array(box.centre))
    side = max(8, round(box.longer * _ROOM * size))
    return Cut(turn, Square(round(x - side / 2), round(y - side / 2), side))


def _out_of(cut: Cut, face: DetectedFace) -> np.ndarray:
    """Points of a face seen in a cut, (478, 3) in pixels of the whole picture."""
    points = face.points.astype(float) * cut.square.side
    return _turned_back(cut.turn, points + np.array([cut.square.left, cut.square.top, 0.0]))


def _turned_back(turn: Turn, points: np.ndarray) -> np.ndarray:
    """Points (478, 3) of a turned picture in pixels of the picture: depth does not turn."""
    return np.column_stack([turn.back(points[:, :2]), points[:, 2]])


def _further_looks(landmarker: FaceLandmarker, picture: Image.Image) -> Iterator[np.ndarray]:
    """Candidates (478, 3) in pixels of the picture, from ever stranger looks at it."""
    turns = [Turn(picture.width, picture.height, deg) for deg in _TURNS_DEG]
    for turn in turns:
        turned = turn.picture(picture)
        for face in landmarker.detect_small(np.asarray(turned)):
            yield _turned_back(turn, _pixels(face, turned.size))
    for turn in [turn for turn in turns if turn.quarters is not None]:
        for points_px in _bleached_and_cut(landmarker, turn.picture(picture)):
            yield _turned_back(turn, points_px)


def _bleached_and_cut(landmarker: FaceLandmarker, picture: Image.Image) -> Iterator[np.ndarray]:
    grey = ImageOps.autocontrast(ImageOps.grayscale(picture)).convert("RGB")
    for longer in _SHRUNK_PX:
        for version in (picture, grey):
            small = version.copy()
            small.thumbnail((longer, longer), Image.Resampling.LANCZOS)
            for face in landmarker.detect(np.asarray(small)):
                yield _pixels(face, picture.size)
    for side in [max(8, round(part * min(picture.size))) for part in _CROPS]:
        lefts, tops = (tile_starts(length, side, side // 4) for length in picture.size)
        for top, left in product(tops, lefts):
            crop = picture.crop((left, top, left + side, top + side)).resize((_LOOK, _LOOK))
            for face in landmarker.detect(np.asarray(crop)):
                yield face.points.astype(float) * side + np.array([left, top, 0.0])


def _pixels(face: DetectedFace, size: tuple[int, int]) -> np.ndarray:
    """(478, 3) in pixels of a picture of this size: depth has the unit of x."""
    pixels: np.ndarray = face.points.astype(float) * (*size, size[0])
    return pixels


def _box(points_px: np.ndarray) -> PixelBox:
    return pixel_boxes(points_px[None, :, :2])[0]
