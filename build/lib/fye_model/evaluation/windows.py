"""Which frames of a clip are asked for: where something moves, and a reference that it would be wrong to repeat.

On people at rest, repeating the reference is nearly right, and no model can show what it is for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fye_model.evaluation.faces import FaceTrack
from fye_model.evaluation.measures import WHOLE_EXPRESSION
from fye_model.evaluation.signals import POSE, read_signals
from fye_model.landmarks.geometry import rotation_difference_deg

# Spread over a clip's driven frames below which it is at rest: in IOD (RMS over signals), and in degrees.
REST_IOD, REST_DEG = 0.012, 1.0
# An expression this far off (IOD, root mean square over the face) counts as much as a head turned by so many degrees.
_FAR_IOD, _FAR_DEG = 0.05, 15.0


@dataclass(frozen=True)
class Motion:
    """How much moves over some frames: spread of the expression (IOD, RMS over signals) and of the pose (degrees)."""

    expression_iod: float
    pose_deg: float

    @property
    def at_rest(self) -> bool:
        """Whether repeating one frame would nearly do."""
        return not (self.expression_iod >= REST_IOD or self.pose_deg >= REST_DEG)


def motion(signals: dict[str, np.ndarray]) -> Motion:
    """How much moves in signals of `read_signals`; 0 where there is no face."""

    def spread(name: str) -> float:
        values = signals[name][np.isfinite(signals[name])]
        return float(values.std()) if values.size else 0.0

    expression = float(np.sqrt(np.mean([spread(name) ** 2 for name in WHOLE_EXPRESSION])))
    return Motion(expression, float(np.linalg.norm([spread(signal.name) for signal in POSE])))


def moving_window(track: FaceTrack, start: int, stop: int, length: int) -> tuple[int, int]:
    """The `length` frames of [start, stop) in which most moves; the first of equals; all of them where they are fewer.

    Counted are the spreads of expression and pose, each over its value at rest.
    """
    if stop - start <= length:
        return start, stop
    signals = read_signals(track)

    def movement(first: int) -> float:
        found = motion({name: values[first : first + length] for name, values in signals.items()})
        return found.expression_iod / REST_IOD + found.pose_deg / REST_DEG

    first = max(range(start, stop - length + 1), key=lambda place: (movement(place), -place))
    return first, first + length


def furthest_frame(track: FaceTrack, driven: tuple[int, int]) -> int:
    """The frame of a clip that is furthest, in expression and pose, from the driven ones [start, stop) on average.

    A driven frame is not taken. Raises ValueError where no other frame, or no driven one, has a face.
    """
    start, stop = driven
    inside = np.zeros(len(track), bool)
    inside[start:stop] = True
    candidates, wanted = np.flatnonzero(track.found & ~inside), np.flatnonzero(track.found & inside)
    if not len(candidates) or not len(wanted):
        raise ValueError(
            f"of {len(track)} frames, of which {start} to {stop} are driven, {len(candidates)} others and "
            f"{len(wanted)} driven ones have a face; protocol `far` needs both: take fewer frames, a longer clip, or "
            "protocol `first`"
        )
    return int(max(candidates, key=lambda frame: (_distance(track, int(frame), wanted), -frame)))


def _distance(track: FaceTrack, frame: int, others: np.ndarray) -> float:
    offsets = np.linalg.norm(track.vertices[others] - track.vertices[frame], axis=2)
    expression = np.sqrt(np.square(offsets).mean(axis=1)) / track.iod_cm
    pose = np.repeat(track.matrix[frame][None], len(others), axis=0)
    angles = rotation_difference_deg(track.matrix[others], pose)
    return float((expression / _FAR_IOD + angles / _FAR_DEG).mean())
