"""Whether what is followed is a face at all: its shape first, and more looks only where that raises doubt.

The landmark model gives a face's points for whatever it takes for a face, a necktie too. Of that the shape is wrong or
changes from frame to frame, and looks from other sides see it elsewhere. Neither alone decides: people's shapes differ
(heads that are bent, exaggerated faces), and looks at blurred or turned people differ a little. What a face expresses
counts in neither: the shape is measured on the points that expressions hardly move. A face that is upside down is
another such thing: the model sees an upright one in it, of a face's shape and in every frame. So three frames are also
looked at turned on their head, and a face there raises doubt.

Measured on ten clips of seven drivers and two other videos (crossed eyes, pouts, laughter, heads turned by 18 degrees;
2,899 frames), and on a necktie seen upside down (36 and 46 frames): shape error 0.04 to 0.07 (at most 0.09 in any
frame), and 0.13 to 0.14; shape jump up to 0.06, and 0.12 to 0.49; looks apart 0.003 to 0.006 (0.009 in any frame), and
0.021 to 1. Pictures of people reach a shape error of 0.10, with looks 0.003 to 0.008 apart.

Upside down, two of the seven drivers are found in every frame (shape error 0.07 and 0.08), two in some, three in none;
looks are 1 apart. Upright, three of them show the model a face on their head, too, and looks are 0.002 to 0.004 apart.
Turned by up to 90 degrees all seven are found, with the eyes and mouth within 0.05 of where they are; by 120 and 150
degrees two and three, wrongly, with looks 1 apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from PIL import Image

from fye_model.config import Config
from fye_model.landmarks import topology
from fye_model.landmarks.boxes import fraction_box, overlap
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence
from tasks.faces.detector import DetectedFace, FaceLandmarker
from tasks.faces.search import looked_at, right_way_up, tilt_deg

SHAPE_ERROR, SHAPE_JUMP = 0.085, 0.1  # beyond either there is doubt, and the clip is looked at again
LOOKS_APART = 0.013  # beyond it is no face
_LOOKS = 5  # frames that are looked at again, evenly spread
_TURNED_LOOKS, _TURNED_EVERY = 3, 24  # frames that are looked at upside down, of those that show the face
_TURNED_DEG = 45.0  # a look that sees the face turned so far from where it was followed sees something else
_NOTHING = 1.0  # looks that find no face, or another: as if the points lay an interocular distance apart
_DIGITS = 5


class ShapeScores(Config):
    """How well a followed face keeps to the shape of faces, in interocular distances.

    shape_error: root mean square distance of the points that carry the pose from those of the canonical face, median
    over detected frames. shape_jump: the same of the whole face from frame to frame, 95th percentile.
    """

    shape_error: float
    shape_jump: float

    @property
    def doubtful(self) -> bool:
        """Whether it has to be looked at again."""
        return self.shape_error > SHAPE_ERROR or self.shape_jump > SHAPE_JUMP


class PlausibleRow(ShapeScores):
    """The shape of a followed face, and, where that is doubtful, how far other looks see it elsewhere: median over some
    frames, in interocular distances, 1 where they see no face; None where there was no doubt."""

    looks_apart: float | None


class TurnedLooks:
    """Looks at some frames turned on their head, while frames pass by: a face there may be the right one."""

    def __init__(self, landmarker: FaceLandmarker) -> None:
        self._landmarker = landmarker
        self._frames = self._looks = self._seen = 0

    def add(self, rgb: np.ndarray, face: DetectedFace | None) -> None:
        """Look at this frame (h, w, 3) uint8, in which `face` is followed, if it is one of those."""
        if face is None:
            return
        if self._frames % _TURNED_EVERY == 0 and self._looks < _TURNED_LOOKS:
            turned = self._landmarker.detect(np.ascontiguousarray(rgb[::-1, ::-1]))
            boxes = [fraction_box(1 - other.points) for other in turned]
            self._looks += 1
            self._seen += any(overlap(box, face.box) > 0.3 for box in boxes)
        self._frames += 1

    @property
    def doubtful(self) -> bool:
        """Whether most of these looks show a face where one is followed the other way up."""
        return 2 * self._seen > self._looks


def shape_scores(sequence: LandmarkSequence, geometry: FaceGeometry) -> ShapeScores:
    """The shape of a sequence with at least one detected frame."""
    detected = np.flatnonzero(sequence.valid & ~sequence.interpolated)
    vertices, _ = geometry.estimate(sequence.points[detected], sequence.width, sequence.height)
    right, left = (geometry.canonical[corner] for corner in topology.OUTER_EYE_CORNERS)
    eyes_cm = float(np.linalg.norm(left - right))
    errors = _rms((vertices - geometry.canonical)[:, geometry.basis]) / eyes_cm
    jumps = (_rms(np.diff(vertices, axis=0)) / eyes_cm)[np.diff(detected) == 1]
    return ShapeScores(
        shape_error=round(float(np.median(errors)), _DIGITS),
        shape_jump=round(float(np.percentile(jumps, 95)), _DIGITS) if jumps.size else 0.0,
    )


def frames_to_look_at(sequence: LandmarkSequence) -> list[int]:
    """Frames that show the face, evenly spread."""
    detected = np.flatnonzero(sequence.valid & ~sequence.interpolated)
    chosen = np.linspace(0, len(detected) - 1, min(_LOOKS, len(detected))).round().astype(int)
    return [int(frame) for frame in detected[chosen]]


def other_looks(
    landmarker: FaceLandmarker,
    sequence: LandmarkSequence,
    shape: ShapeScores,
    turned: TurnedLooks,
    read: Callable[[Sequence[int]], Iterable[np.ndarray]],
) -> float | None:
    """How far other looks see a doubtful face elsewhere (`looks_apart`), None where nothing raises doubt.

    read: pictures of frames. Where only its way up is in doubt, three quick looks at one frame that agree are enough.
    """
    if not shape.doubtful and not turned.doubtful:
        return None
    frames = frames_to_look_at(sequence)
    if not shape.doubtful:
        middle = frames[len(frames) // 2]
        (rgb,) = read([middle])
        sure = right_way_up(landmarker, Image.fromarray(rgb), _points_px(sequence, middle))
        if sure is not None:
            return round(sure, _DIGITS)
    return looks_apart(landmarker, sequence, frames, read(frames))


def looks_apart(
    landmarker: FaceLandmarker, sequence: LandmarkSequence, frames: Iterable[int], pictures: Iterable[np.ndarray]
) -> float:
    """How far looks at these frames, pictures (h, w, 3) uint8, see the face elsewhere; some 20 detections a frame."""
    apart = []
    for frame, rgb in zip(frames, pictures, strict=True):
        points_px = _points_px(sequence, frame)
        found = looked_at(landmarker, Image.fromarray(rgb), points_px)
        same = found is not None and abs(_turn(found.tilt_deg - tilt_deg(points_px))) < _TURNED_DEG
        apart.append(found.spread if same and found is not None else _NOTHING)
    return round(float(np.median(apart)), _DIGITS)


def _points_px(sequence: LandmarkSequence, frame: int) -> np.ndarray:
    """(478, 3) in pixels, depth in the unit of x."""
    return np.asarray(sequence.points[frame].astype(float) * (sequence.width, sequence.height, sequence.width))


def _rms(offsets: np.ndarray) -> np.ndarray:
    """(f, n, 3) -> (f,)"""
    return np.asarray(np.sqrt((offsets**2).sum(axis=-1).mean(axis=-1)))


def _turn(degrees: float) -> float:
    return (degrees + 180) % 360 - 180
