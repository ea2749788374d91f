"""One face followed through a video: which of the found faces it is, and what was found as one landmark sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.boxes import overlap
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import BLENDSHAPES, LandmarkSequence
from tasks.faces.detector import DetectedFace, FaceLandmarker
from tasks.faces.landmarker import LandmarkerAsset


def load_geometry(asset: LandmarkerAsset) -> FaceGeometry:
    """The canonical face that goes with a landmark model: its own, or our mean face where it has none."""
    return FaceGeometry.from_task(asset.path) if asset.has_matrix else FaceGeometry.mean_mesh()


def geometry_name(asset: LandmarkerAsset) -> str:
    """`task` when the landmark model brings its canonical face, else `mean_mesh`."""
    return "task" if asset.has_matrix else "mean_mesh"


FirstFace = Callable[[list[DetectedFace], np.ndarray], DetectedFace | None]


class FaceTracker:
    """Follows one face through a clip: the largest at first, then the one that overlaps the last known box most.

    A face elsewhere in the frame is another person and is not taken while the gap is short; after a longer gap the
    largest is taken again. `found`: how many faces each frame showed. `first` chooses another one than the largest from
    what was found in a frame, or None.
    """

    def __init__(self, landmarker: FaceLandmarker, max_gap_frames: int, first: FirstFace | None = None) -> None:
        self.landmarker = landmarker
        self.max_gap_frames = max_gap_frames
        self.found: list[int] = []
        self._first = first
        self._last: DetectedFace | None = None
        self._missed = 0

    def next(self, rgb: np.ndarray) -> DetectedFace | None:
        """The followed face in the next frame (h, w, 3) uint8, or None."""
        return self.follow([rgb])[0]

    def follow(self, frames: Sequence[np.ndarray]) -> list[DetectedFace | None]:
        """`next` of several frames, searched at once, which is faster (`FaceLandmarker.detect_each`)."""
        found = self.landmarker.detect_each(frames)
        return [self._next(rgb, faces) for rgb, faces in zip(frames, found, strict=True)]

    def _next(self, rgb: np.ndarray, faces: list[DetectedFace]) -> DetectedFace | None:
        face = self._choose(faces, rgb)
        seen = len(faces)
        if face is None and self._last is not None and self._missed <= self.max_gap_frames:
            # a second look costs one detection and finds faces that a busy background hides from the first
            face = self._choose(self.landmarker.detect_around(rgb, self._last.box), rgb)
            seen += face is not None
        self.found.append(seen)
        self._missed = 0 if face is not None else self._missed + 1
        self._last = face or self._last
        return face

    def _choose(self, faces: list[DetectedFace], rgb: np.ndarray) -> DetectedFace | None:
        lost = self._last is None or self._missed > self.max_gap_frames
        if lost and self._first is not None:
            return self._first(faces, rgb)
        if not faces or lost or self._last is None:
            return faces[0] if faces else None
        last = self._last.box
        nearest = max(faces, key=lambda face: overlap(face.box, last))
        return nearest if overlap(nearest.box, last) > 0.1 else None


def build_sequence(
    faces: list[DetectedFace | None],
    times: np.ndarray,
    fps: float,
    width: int,
    height: int,
    model: str,
    geometry: FaceGeometry,
    max_gap_frames: int,
) -> LandmarkSequence:
    """Detected faces as a sequence: gaps up to `max_gap_frames` between two detections filled linearly and flagged.

    Poses come from the points (`FaceGeometry.estimate`), so that interpolated frames have one too. Gaps at the clip's
    ends stay invalid: there is nothing on the other side.
    """
    found = np.array([face is not None for face in faces])
    points = np.full((len(faces), topology.POINTS, 3), np.nan, np.float32)
    shapes = np.full((len(faces), BLENDSHAPES), np.nan, np.float32)
    has_shapes = False
    for i, face in enumerate(faces):
        if face is not None:
            points[i] = face.points
            if face.blendshapes is not None:
                shapes[i] = face.blendshapes
                has_shapes = True
    interpolated = np.zeros(len(faces), bool)
    detected = np.flatnonzero(found)
    for before, after in pairwise(detected):
        if 1 < after - before <= max_gap_frames + 1:
            interpolated[before + 1 : after] = True
    gaps = np.flatnonzero(interpolated)
    if gaps.size:
        right = np.searchsorted(detected, gaps)
        first, last = detected[right - 1], detected[right]
        weight = ((gaps - first) / (last - first)).astype(np.float32)
        points[gaps] = points[first] + weight[:, None, None] * (points[last] - points[first])
        shapes[gaps] = shapes[first] + weight[:, None] * (shapes[last] - shapes[first])
    matrix = geometry.estimate(points, width, height)[1].astype(np.float32)
    return LandmarkSequence(
        points=points,
        matrix=matrix,
        blendshapes=shapes if has_shapes else None,
        valid=found | interpolated,
        interpolated=interpolated,
        time_s=times,
        fps=fps,
        width=width,
        height=height,
        model=model,
    )
