"""Which shapes of the mouth a model was trained on, and a driver's mouth kept among them.

What a driver adds is added to the portrait's own face: a shout on top of a smile is a mouth that no clip showed, and
the upper lip ends at the nose. As with poses, what the clips showed is measured and kept in the model's folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from fye_model.config import Config, Positive
from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.ranges import check_ordered, common_ends, kept_softly
from fye_model.landmarks.regions import REGIONS, opening, region_of_vertices
from fye_model.landmarks.table import LandmarkSequence

_WORDS = ("the mouth's opening", "the mouth's width", "the upper lip's distance from the nose")
_UNDER_NOSE, _UPPER_LIP = 2, 0
_KNEE = 0.1  # of the range, over which motion slows down before its end
_FELT = 0.02  # of the distance between the eyes: less is not worth a word, and is no reason to hold a mouth still

_MOST = 5.0  # no face has such a mouth, only a bad detection
Ratio = Annotated[float, Field(ge=0, le=_MOST)]


class TrainedMouths(Config):
    """From and to of 99% of the training clips' frames, in distances between the outer corners of the eyes.

    opening: between the inner lips; width: between the corners; lip: from below the nose to the upper lip's rim;
    frames: how many were measured.
    """

    opening: tuple[Ratio, Ratio]
    width: tuple[Ratio, Ratio]
    lip: tuple[Ratio, Ratio]
    frames: Positive

    @model_validator(mode="after")
    def _ordered(self) -> TrainedMouths:
        check_ordered(("opening", "width", "lip"), self.ranges)
        return self

    @property
    def ranges(self) -> np.ndarray:
        """(3 measures, 2): from and to."""
        return np.array([self.opening, self.width, self.lip])


def mouth_measures(faces: np.ndarray) -> np.ndarray:
    """Opening, width and lip of faces (f, n, 3) in any unit that is equal along all axes: (f, 3)."""
    gap, width = opening(faces, "mouth")
    lip = np.linalg.norm(faces[:, _UNDER_NOSE] - faces[:, _UPPER_LIP], axis=1)
    corners = faces[:, list(topology.OUTER_EYE_CORNERS)]
    unit = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)
    measures: np.ndarray = np.stack([gap, width, lip], axis=1) / unit[:, None]
    return measures


def measure_mouths(clips: Iterable[LandmarkSequence]) -> TrainedMouths | None:
    """The mouths of all frames in which a face was detected; None where none was."""
    found = []
    for clip in clips:
        seen = clip.points[clip.valid & ~clip.interpolated].astype(np.float64)
        found.append(mouth_measures(seen * [1, clip.height / clip.width, 1]))
    measures = np.concatenate(found) if found else np.empty((0, 3))
    measures = measures[np.isfinite(measures).all(axis=1)]
    if not len(measures):
        return None
    ends = common_ends(measures).clip(0, _MOST).round(3)
    gap, width, lip = ((float(low), float(high)) for low, high in ends)
    return TrainedMouths(opening=gap, width=width, lip=lip, frames=len(measures))


def hold_mouth(
    own: np.ndarray, change: np.ndarray, geometry: FaceGeometry, mouths: TrainedMouths
) -> tuple[np.ndarray, list[str]]:
    """What is added to a face, with the mouth's part of it reduced as far as the trained range wants.

    own: (1 or f, 468, 3) canonical space, the face that it is added to, whose own mouth always stays possible; change:
    (f, 468, 3) -> the change that is kept, and a sentence for each measure that was over its range.
    """
    before = np.broadcast_to(mouth_measures(own), (len(change), 3))
    wanted = mouth_measures(own + change)
    low, high = np.minimum(mouths.ranges[:, 0], before) - _FELT, np.maximum(mouths.ranges[:, 1], before) + _FELT
    knee = np.maximum(_KNEE * np.diff(mouths.ranges, axis=1)[:, 0], _FELT)
    kept = kept_softly(wanted, before, low, high, knee)
    held = kept != wanted
    parts = np.where(held, (kept - before) / np.where(held, wanted - before, 1), 1).clip(0, 1)
    opened, across, lip = parts.T
    up = np.minimum(opened, lip)
    part = np.stack([across, up, up], axis=1)  # a mouth that is as wide as it may be can still open
    mouth = region_of_vertices(geometry) == REGIONS.index("mouth")
    result = np.where(mouth[None, :, None], change * part[:, None], change)
    return result, _told(wanted, kept, mouths)


def _told(wanted: np.ndarray, kept: np.ndarray, mouths: TrainedMouths) -> list[str]:
    lines = []
    for index, words in enumerate(_WORDS):
        less = np.abs(wanted[:, index] - kept[:, index])
        if (less > _FELT).any():
            (low, high), furthest = mouths.ranges[index], wanted[less.argmax(), index]
            lines.append(
                f"{words} held back in {int((less > _FELT).sum())} of {len(wanted)} frames: {furthest:.2f} of the "
                f"distance between the eyes was wanted, the model was trained from {low:.2f} to {high:.2f}"
            )
    return lines
