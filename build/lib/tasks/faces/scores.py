"""How usable a clip is, in numbers: what screening judges. Nothing is rejected here."""

from __future__ import annotations

from collections.abc import Sequence
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
_FIVE = ((33, 133), (263, 362), (1,), (61,), (291,))  # eyes, tip of the nose, corners of the mouth
_FIVE_WEIGHTS = (0.15, 0.15, 0.4, 0.15, 0.15)


class PictureRow(Config):
    """Medians over the frames that were measured; 0 where none was."""

    sharpness: float  # variance of the Laplacian of the face, 8-bit grey levels
    brightness: float  # mean grey level of the face


class HeadScores(Config):
    """How still, frontal, whole, large and alone the face is: measured once a second, as TalkVid's filter does.

    movement: of eyes, nose tip and mouth corners from one second to the next, mean of both coordinates, as a fraction
    of the picture's shorter side. turn_deg: length of the change of (pitch, yaw, roll); off_axis_deg: length of the
    angles themselves. inside: share of those points within the picture (eyes 0.3, nose 0.4, mouth 0.3). face_area: of
    the box around the face, as a fraction of the picture. not_alone: seconds without exactly one face. A clip in which
    no two seconds show a face does not move.
    """

    seconds: int
    not_alone: int
    movement_mean: float
    movement_max: float
    turn_mean_deg: float
    turn_max_deg: float
    off_axis_mean_deg: float
    off_axis_max_deg: float
    inside_mean: float
    inside_min: float
    face_area_mean: float
    face_area_min: float


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
    head: HeadScores


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


def clip_scores(sequence: LandmarkSequence, geometry: FaceGeometry, faces: Sequence[int]) -> ClipScores:
    """Scores of a sequence with at least one valid frame. faces: how many were found in each frame.

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
        head=head_scores(sequence, np.asarray(faces)),
    )


def head_scores(sequence: LandmarkSequence, faces: np.ndarray) -> HeadScores:
    """The head, looked at once a second; of a clip shorter than a second, in its first frame with a face.

    faces: (f,) how many were found. Raises ValueError for a sequence without poses.
    """
    if sequence.matrix is None:
        raise ValueError("scores of the head need poses, and these landmarks have none")
    looked = (np.arange(max(int(len(sequence) / sequence.fps), 1)) * sequence.fps).round().astype(int)
    shown = looked[sequence.valid[looked]]
    if not shown.size:
        shown = np.flatnonzero(sequence.valid)[:1]
    mesh = sequence.points[shown, : topology.MESH_POINTS, :2].astype(np.float64)
    five = np.stack([mesh[:, list(group)].mean(axis=1) for group in _FIVE], axis=1)
    inside = ((five >= 0) & (five < 1)).all(axis=-1) @ np.array(_FIVE_WEIGHTS)
    side = np.array((sequence.width, sequence.height)) / min(sequence.width, sequence.height)
    moved = np.abs(np.diff(five * side, axis=0)).mean(axis=(1, 2))
    angles = euler_deg(sequence.matrix[shown])
    turned = np.linalg.norm(np.diff(angles, axis=0), axis=1)
    off_axis = np.linalg.norm(angles, axis=1)
    area = np.ptp(mesh, axis=1).prod(axis=-1)
    return HeadScores(
        seconds=len(looked),
        not_alone=int((faces[looked] != 1).sum()),
        movement_mean=_rounded(moved.mean()) if moved.size else 0.0,
        movement_max=_rounded(moved.max(initial=0.0)),
        turn_mean_deg=_rounded(turned.mean()) if turned.size else 0.0,
        turn_max_deg=_rounded(turned.max(initial=0.0)),
        off_axis_mean_deg=_rounded(off_axis.mean()),
        off_axis_max_deg=_rounded(off_axis.max()),
        inside_mean=_rounded(inside.mean()),
        inside_min=_rounded(inside.min()),
        face_area_mean=_rounded(area.mean()),
        face_area_min=_rounded(area.min()),
    )


def _extremes(angles: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(angles, (1, 99))
    return _rounded(low), _rounded(high)


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), _DIGITS)
