"""What a face does, as a few numbers a frame: mouth, eyes, brows and gaze with head pose taken out, and pose itself.

Expression signals are lengths in canonical space (pose removed) over the face's own interocular distance (IOD), so that
a turned head is no expression and a larger face no wider mouth. "Right" and "left" are the subject's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fye_model.evaluation.faces import FaceTrack
from fye_model.landmarks import topology
from fye_model.landmarks.geometry import euler_deg

# Three pairs of upper and lower lid points an eye: their mean is steadier than one pair.
_RIGHT_LIDS = ((160, 144), (159, 145), (158, 153))
_LEFT_LIDS = ((387, 373), (386, 374), (385, 380))
_RIGHT_BROW, _LEFT_BROW = (52, 65, 105), (282, 295, 334)
_LIP_CORNERS = (61, 291)  # right, left; the outer contour's
_EYES = ((topology.RIGHT_PUPIL, 33, 133), (topology.LEFT_PUPIL, 263, 362))  # pupil, outer corner, inner corner


@dataclass(frozen=True)
class Signal:
    """A number a frame of a face: `read` maps a track to (f,), NaN where there is no face."""

    name: str
    label: str
    unit: str
    read: Callable[[FaceTrack], np.ndarray]


def _distance(track: FaceTrack, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    lengths = [np.linalg.norm(track.vertices[:, a] - track.vertices[:, b], axis=1) for a, b in pairs]
    return np.asarray(np.mean(lengths, axis=0) / track.iod_cm)


def _height(track: FaceTrack, points: tuple[int, ...]) -> np.ndarray:
    """Mean height of points over the line of the eye corners, which expression hardly moves."""
    corners = track.vertices[:, topology.EYE_CORNERS, 1].mean(axis=1)
    return np.asarray((track.vertices[:, points, 1].mean(axis=1) - corners) / track.iod_cm)


def gaze(track: FaceTrack) -> np.ndarray:
    """Pupils between their eye corners, mean of both eyes: (f, 2), x to the subject's left and y up, in IOD.

    Measured in the picture along and across the line of each eye's corners, as a fraction of its length: roll is taken
    out, and foreshortening by the head's turn cancels. The fraction is of the canonical face's eye, so that the unit
    is the IOD as for all signals.
    """
    pixels, canonical = track.pixels, track.geometry.canonical
    iod = np.linalg.norm(canonical[33] - canonical[263])
    eyes = []
    for (pupil, outer, inner), towards_left in zip(_EYES, (1, -1), strict=True):
        axis = (pixels[:, inner] - pixels[:, outer]) * towards_left  # from the subject's right to the left
        length = np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-6)
        along = axis / length
        up = np.stack([along[:, 1], -along[:, 0]], axis=1)  # y of pictures points down
        offset = (pixels[:, pupil] - (pixels[:, inner] + pixels[:, outer]) / 2) / length
        unit = np.linalg.norm(canonical[inner] - canonical[outer]) / iod
        eyes.append(np.stack([(offset * along).sum(axis=1), (offset * up).sum(axis=1)], axis=1) * unit)
    return np.asarray(np.mean(eyes, axis=0))


def _angle(number: int) -> Callable[[FaceTrack], np.ndarray]:
    def read(track: FaceTrack) -> np.ndarray:
        angles = np.full(len(track), np.nan)
        angles[track.found] = euler_deg(track.matrix[track.found])[:, number]
        return angles

    return read


EXPRESSION: tuple[Signal, ...] = (
    Signal("mouth_opening", "mouth opening", "IOD", lambda track: _distance(track, ((13, 14),))),
    Signal("mouth_width", "mouth width", "IOD", lambda track: _distance(track, (_LIP_CORNERS,))),
    Signal("lip_corner_left", "left lip corner", "IOD", lambda track: _height(track, _LIP_CORNERS[1:])),
    Signal("lip_corner_right", "right lip corner", "IOD", lambda track: _height(track, _LIP_CORNERS[:1])),
    Signal("eye_opening_left", "left eye opening", "IOD", lambda track: _distance(track, _LEFT_LIDS)),
    Signal("eye_opening_right", "right eye opening", "IOD", lambda track: _distance(track, _RIGHT_LIDS)),
    Signal("brow_height", "brow height", "IOD", lambda track: _height(track, _LEFT_BROW + _RIGHT_BROW)),
    Signal("brow_height_left", "left brow height", "IOD", lambda track: _height(track, _LEFT_BROW)),
    Signal("brow_height_right", "right brow height", "IOD", lambda track: _height(track, _RIGHT_BROW)),
    Signal("gaze_x", "gaze sideways", "IOD", lambda track: gaze(track)[:, 0]),
    Signal("gaze_y", "gaze up", "IOD", lambda track: gaze(track)[:, 1]),
)
POSE: tuple[Signal, ...] = (
    Signal("pitch", "pitch", "degrees", _angle(0)),
    Signal("yaw", "yaw", "degrees", _angle(1)),
    Signal("roll", "roll", "degrees", _angle(2)),
)


def read_signals(track: FaceTrack, signals: tuple[Signal, ...] = EXPRESSION + POSE) -> dict[str, np.ndarray]:
    """Every signal of a track by its name, (f,) each."""
    return {signal.name: signal.read(track) for signal in signals}
