"""The face of a clip as the landmark model found it, frame by frame, with head pose taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry

# Outer corners of the right and left eye in MediaPipe's mesh. Their distance is the interocular distance (IOD), the
# unit of every length that the evaluation reports.
IOD_POINTS = (33, 263)


@dataclass(frozen=True)
class Detection:
    """One face in one picture: points (478, 3) as fractions of its sides; blendshapes (52,), None if not given."""

    points: np.ndarray
    blendshapes: np.ndarray | None = None


@dataclass(frozen=True)
class FaceTrack:
    """The faces of consecutive frames.

    points: (f, 478, 3) float64, x and y as fractions of frame width and height, NaN where no face was found.
    blendshapes: (f, 52) float64, NaN where none was found; None where the landmark model has none.
    width, height: of the pictures, in pixels. geometry: the canonical face by which pose is taken out.
    """

    points: np.ndarray
    blendshapes: np.ndarray | None
    width: int
    height: int
    geometry: FaceGeometry

    @classmethod
    def of(
        cls, detections: Sequence[Detection | None], width: int, height: int, geometry: FaceGeometry, blendshapes: bool
    ) -> FaceTrack:
        """A track from what was found in each frame. `blendshapes`: whether the landmark model gives any."""
        points = np.full((len(detections), topology.POINTS, 3), np.nan)
        shapes = np.full((len(detections), 52), np.nan) if blendshapes else None
        for frame, found in enumerate(detections):
            if found is None:
                continue
            points[frame] = found.points
            if shapes is not None and found.blendshapes is not None:
                shapes[frame] = found.blendshapes
        return cls(points, shapes, width, height, geometry)

    def __len__(self) -> int:
        return len(self.points)

    def repeated(self, count: int) -> FaceTrack:
        """The first frame's face, `count` times."""
        shapes = None if self.blendshapes is None else np.repeat(self.blendshapes[:1], count, axis=0)
        return FaceTrack(np.repeat(self.points[:1], count, axis=0), shapes, self.width, self.height, self.geometry)

    @cached_property
    def found(self) -> np.ndarray:
        """Where there is a face: (f,) bool."""
        return np.asarray(np.isfinite(self.points).all(axis=(1, 2)))

    @cached_property
    def pixels(self) -> np.ndarray:
        """Points in pixels: (f, 478, 2)."""
        return np.asarray(self.points[..., :2] * np.array([self.width, self.height], np.float64))

    @cached_property
    def _metric(self) -> tuple[np.ndarray, np.ndarray]:
        # one frame at a time: the last digits of a product of many matrices depend on how many there are
        each = [self.geometry.estimate(frame[None], self.width, self.height) for frame in self.points]
        return np.concatenate([vertices for vertices, _ in each]), np.concatenate([matrix for _, matrix in each])

    @property
    def vertices(self) -> np.ndarray:
        """Each frame's own face in canonical space: centimetres, pose removed; (f, 468, 3)."""
        return self._metric[0]

    @property
    def matrix(self) -> np.ndarray:
        """Canonical centimetres to camera centimetres: (f, 4, 4)."""
        return self._metric[1]

    @cached_property
    def iod_cm(self) -> float:
        """Interocular distance of this face in canonical space: the median over its frames; NaN without a face."""
        right, left = (self.vertices[self.found, point] for point in IOD_POINTS)
        return float(np.median(np.linalg.norm(right - left, axis=1))) if self.found.any() else float("nan")
