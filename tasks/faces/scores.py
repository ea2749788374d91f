"""How usable a clip is, in numbers: what screening judges. Nothing is rejected here."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from fye_model.config import Config
from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry, euler_deg
from fye_model.landmarks.table import LandmarkSequence
from tasks.faces.detector import DetectedFace

_PICTURE_STRIDE = 5  # frames between two whose sharpness and brightness are measured: neighbours are alike
_DIGITS = 5


class PictureRow(Config):
    """Medians over the frames that were measured; 0 where none was."""

    sharpness: float  # variance of the Laplacian of the face, 8-bit grey levels
    brightness: float  # mean grey level of the face


class ClipScores(Config):
    """How usable a clip is, from its landmarks alone."""

    model: str  # the landmark model
    frames: int
    fps: float
    valid_frames: int
    interpolated: int
    detection_rate: float  # detected frames over all
    completeness: float  # valid frames, interpolated ones included, over all
    longest_gap: int  # frames in a row without detection
    face_fraction: float  # median face height over frame height
    yaw: tuple[float, float]  # 1st and 99th percentile, degrees
    pitch: tuple[float, float]
    motion: float  # mean path of the landmarks per second, in interocular distances
    expression_range_mm: float  # mean spread (standard deviation) of brows, eyes and lips, pose removed


class PictureScores:
    """Sharpness and brightness of the face, gathered while frames pass by."""

    def __init__(self) -> None:
        self._frame = 0
        self._sharpness: list[float] = []
        self._brightness: list[float] = []

    def add(self, rgb: np.ndarray, face: DetectedFace | None) -> None:
        """Measure this frame (h, w, 3) uint8 if it is one of those measured and shows a face."""
        measured = face is not None and (self._frame % _PICTURE_STRIDE == 0 or not self._sharpness)
        self._frame += 1
        if face is None or not measured:
            return
        grey = _face_crop(rgb, face) @ np.array([0.299, 0.587, 0.114], np.float32)
        if min(grey.shape) < 3:
            return
        centre = grey[1:-1, 1:-1]
        laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
        self._sharpness.append(float(laplacian.var()))
        self._brightness.append(float(grey.mean()))

    def row(self) -> PictureRow:
        """What was measured so far."""
        return PictureRow(
            sharpness=_rounded(np.median(self._sharpness)) if self._sharpness else 0.0,
            brightness=_rounded(np.median(self._brightness)) if self._brightness else 0.0,
        )


def _face_crop(rgb: np.ndarray, face: DetectedFace) -> np.ndarray:
    height, width = rgb.shape[:2]
    left, top, right, bottom = face.box
    rows = slice(max(int(top * height), 0), max(int(np.ceil(bottom * height)), 0))
    columns = slice(max(int(left * width), 0), max(int(np.ceil(right * width)), 0))
    return rgb[rows, columns].astype(np.float32)


def clip_scores(sequence: LandmarkSequence, geometry: FaceGeometry) -> ClipScores:
    """Scores of a sequence with at least one valid frame.

    The expression range is of the face's own shape, so that it means the same for every landmark model.
    """
    valid = sequence.valid
    detected = valid & ~sequence.interpolated
    points = sequence.pixels()
    shown = points[valid]
    heights = np.ptp(shown[:, : topology.MESH_POINTS, 1], axis=1) / sequence.height
    vertices, matrix = geometry.estimate(sequence.points[valid], sequence.width, sequence.height)
    pitch, yaw, _ = euler_deg(matrix).T
    mesh = [index for index in topology.EXPRESSION_POINTS if index < topology.MESH_POINTS]
    spread_mm = 10 * np.sqrt(vertices[:, mesh].var(axis=0).sum(axis=-1)).mean()
    pairs = np.flatnonzero(valid[1:] & valid[:-1])
    steps = np.linalg.norm(points[pairs + 1] - points[pairs], axis=-1).mean(axis=-1)
    eyes = float(np.median(topology.interocular_distance(shown)))
    return ClipScores(
        model=sequence.model,
        frames=len(sequence),
        fps=sequence.fps,
        valid_frames=int(valid.sum()),
        interpolated=int(sequence.interpolated.sum()),
        detection_rate=_rounded(detected.mean()),
        completeness=_rounded(valid.mean()),
        longest_gap=max((len(list(run)) for miss, run in groupby(~detected) if miss), default=0),
        face_fraction=_rounded(np.median(heights)),
        yaw=_extremes(yaw),
        pitch=_extremes(pitch),
        motion=_rounded(steps.mean() / eyes * sequence.fps) if pairs.size and eyes > 0 else 0.0,
        expression_range_mm=_rounded(spread_mm),
    )


def _extremes(angles: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(angles, (1, 99))
    return _rounded(low), _rounded(high)


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), _DIGITS)
