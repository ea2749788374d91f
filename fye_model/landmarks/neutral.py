"""The face from which a driver's expression is measured: one of its frames, or one put together from several.

A driver that begins with a grimace, or that talks in every frame, has no frame to start from. Its eyes, brows and mouth
are relaxed at different times; together they are a neutral face that it never showed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.alignment import neutral_frame
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.regions import LIDS, OPENINGS, REGIONS, brow_height, opening, region_of_vertices
from fye_model.landmarks.table import LandmarkSequence

_RELAXED = 0.1  # of the frames are averaged in each region
_MOST_FRAMES = 25
_OPEN_MOUTH = 0.08  # of its width, more than the driver's most relaxed mouth: no neutral one
_NEVER_CLOSED = 0.2  # of its width: a mouth that is open all the time, which is closed by hand
_CLOSED_EYE = 0.6  # of its usual opening


@dataclass(frozen=True)
class Neutral:
    """vertices: (468, 3) canonical space; frame: the driver's frame that it is, None for one that was put together;
    words: what a user is told."""

    vertices: np.ndarray
    frame: int | None
    words: str


def choose_neutral(
    sequence: LandmarkSequence, vertices: np.ndarray, geometry: FaceGeometry, wanted: str = "auto"
) -> Neutral:
    """The neutral face of a driver. vertices: (f, 468, 3) canonical space, NaN where the driver is not valid.

    wanted: `auto` takes the frame with the least expression, or, where even that has the mouth open or the eyes
    closed, a composite; `composite` always puts one together; `first` is the first frame with a face; `mean` is the
    mean face with its mouth closed, its eyes and mouth put where the driver's are: for drivers without any motion; a
    number is that frame. Raises ValueError for other words, and for a frame that is not there or shows no face.
    """
    valid = np.flatnonzero(sequence.valid)
    if not len(valid):
        raise ValueError("no frame of the driver has a face: nothing to animate from")
    if wanted == "composite":
        return _composite(sequence, vertices, geometry, "as asked")
    if wanted == "mean":
        return Neutral(_mean(vertices[_usable(sequence)], geometry), None, "neutral: a mean face")
    if wanted == "first":
        return Neutral(vertices[valid[0]], int(valid[0]), f"neutral: frame {valid[0]}, the first with a face, as asked")
    if wanted != "auto":
        frame = _number(wanted, sequence)
        return Neutral(vertices[frame], frame, f"neutral: frame {frame}, as asked")
    frame = neutral_frame(sequence, vertices)
    problem = _expression_left(sequence, vertices, frame)
    if problem is not None:
        return _composite(sequence, vertices, geometry, f"even frame {frame}, the calmest, has {problem}")
    return Neutral(vertices[frame], frame, f"neutral: frame {frame}, the one with the least expression")


def _number(wanted: str, sequence: LandmarkSequence) -> int:
    try:
        frame = int(wanted)
    except ValueError:
        raise ValueError(
            f"neutral is {wanted!r}; expected auto, first, composite, mean, or the number of a frame of the driver"
        ) from None
    if not 0 <= frame < len(sequence):
        raise ValueError(f"neutral frame {frame}: the driver's frames are 0 to {len(sequence) - 1}")
    if not sequence.valid[frame]:
        raise ValueError(f"neutral frame {frame} shows no face; give another one, or auto")
    return frame


def _usable(sequence: LandmarkSequence) -> np.ndarray:
    usable = sequence.valid & ~sequence.interpolated
    return np.flatnonzero(usable if usable.any() else sequence.valid)


def _expression_left(sequence: LandmarkSequence, vertices: np.ndarray, frame: int) -> str | None:
    """What a frame still does that a neutral face does not, judged by the driver's other frames; None: nothing."""
    usable = _usable(sequence)
    gap, width = opening(vertices[usable], "mouth")
    here, here_width = opening(vertices[[frame]], "mouth")
    if (here / here_width)[0] > min(np.quantile(gap / width, _RELAXED) + _OPEN_MOUTH, _NEVER_CLOSED):
        return "the mouth open"
    for eye in ("right_eye", "left_eye"):
        usual = np.quantile(opening(vertices[usable], eye)[0], 0.75)
        if opening(vertices[[frame]], eye)[0][0] < _CLOSED_EYE * usual:
            return "an eye closed"
    return None


def _composite(sequence: LandmarkSequence, vertices: np.ndarray, geometry: FaceGeometry, why: str) -> Neutral:
    """Every region averaged over the frames in which it is most relaxed."""
    usable = _usable(sequence)
    faces = vertices[usable]
    count = min(max(1, round(_RELAXED * len(usable))), _MOST_FRAMES)
    region = region_of_vertices(geometry)
    result = np.empty_like(faces[0])
    for index, name in enumerate(REGIONS):
        calmest = np.argsort(_tension(faces, name), kind="stable")[:count]
        result[region == index] = faces[calmest].mean(axis=0)[region == index]
    words = f"neutral: put together from the {count} calmest frames of eyes, brows and mouth ({why})"
    gap, width = opening(result[None], "mouth")
    if gap[0] / width[0] > _NEVER_CLOSED:
        _close_mouth(result)
        words += "; the mouth is never closed, so a closed one is assumed"
    return Neutral(result, None, words)


def _mean(faces: np.ndarray, geometry: FaceGeometry) -> np.ndarray:
    """The canonical face, fitted to the driver's where that says who it is: expressions do not move the eyes' corners,
    nor the mouth as a whole. How wide the mouth is, and how high the brows are, is taken for expression."""
    driver, mean = faces.mean(axis=0), geometry.canonical.copy()
    _close_mouth(mean)
    region = region_of_vertices(geometry)
    for index, name in enumerate(REGIONS):
        if name not in OPENINGS:
            continue
        anchors = list(OPENINGS[name][2:]) if name != "mouth" else list(topology.OUTER_LIPS)
        middle, own = mean[anchors].mean(axis=0), driver[anchors].mean(axis=0)
        wider = 1.0
        if name != "mouth":
            wider = float(np.linalg.norm(driver[anchors[0]] - driver[anchors[1]]))
            wider /= float(np.linalg.norm(mean[anchors[0]] - mean[anchors[1]]))
        mean[region == index] = own + (mean[region == index] - middle) * wider
    return mean


def _close_mouth(face: np.ndarray) -> None:
    """Lay the inner lips of one face (468, 3) together, each pair of points half-way."""
    upper, lower = (np.array(side) for side in zip(*LIDS["mouth"], strict=True))
    face[upper] = face[lower] = (face[upper] + face[lower]) / 2


def _tension(faces: np.ndarray, region: str) -> np.ndarray:
    """How far a region is from relaxed in each frame: (f,), to be compared within one driver."""
    if region == "brows":
        height = brow_height(faces)
        tension: np.ndarray = np.abs(height - np.median(height))
        return tension
    unit = topology.interocular_distance(faces)
    gap, width = opening(faces, region)
    if region == "mouth":
        tension = gap / width + 0.7 * np.abs(width - np.median(width)) / unit
    else:
        tension = np.abs(gap - np.quantile(gap, 0.75)) / unit
    return tension
