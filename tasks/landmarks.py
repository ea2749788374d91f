"""Landmarks, masks and quality scores of a square clip.

One pass over the clip: every frame is looked at, one face is followed, short gaps are interpolated and flagged, longer
ones stay invalid. Scores are stored, not judged: screening (`tasks/screening.py`) can change its mind without
detecting again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow.parquet as pq

from fye_model.config import Config, LandmarkConfig
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.masks import expression_mask, face_mask, to_latent
from fye_model.landmarks.table import LandmarkSequence, write_landmarks, write_masks
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Quarantine, Worker
from tasks.engine.stage import Context, Stage
from tasks.faces.detector import BLENDSHAPE_COUNT, POINT_COUNT, DetectedFace, FaceLandmarker, overlap
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.scores import ClipScores, PictureRow, PictureScores, clip_scores
from tasks.media.read import iter_frames, probe

_MOST_FACES = 3  # candidates in a clip's frame; the landmark model runs only on those that are there
_MASK_CHUNK = 64  # frames whose full-size masks are in memory together


class LandmarkFacts(Config):
    """What the masks have to fit: pixels per latent cell of the autoencoder that the clip will be encoded with."""

    factor: int


class LandmarkRow(ClipScores, PictureRow):
    """A clip's scores, by which screening judges it."""


class LandmarkWorker(Worker[LandmarkFacts, LandmarkRow]):
    """Writes landmarks.parquet and masks.parquet of one clip after another; the landmarker lives as long as it."""

    def __init__(self, settings: LandmarkConfig, context: Context) -> None:
        self.config = settings
        self.asset = context.landmarker
        self.geometry = load_geometry(self.asset)
        self.landmarker = FaceLandmarker(self.asset.path, self.asset.model, max_faces=_MOST_FACES)

    def __enter__(self) -> Self:
        self.landmarker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.landmarker.close()

    def process(self, item: Given[LandmarkFacts]) -> LandmarkRow:
        """Landmarks and masks of `video`, whose frames' source times are in `frames`.

        Raises `Quarantine` (no_face) when no frame shows a face.
        """
        name, video = item.name, item.files["video"]
        times = pq.read_table(item.files["frames"])["time_s"].to_numpy().astype(np.float64)
        pictures = PictureScores()
        faces: list[DetectedFace | None] = []
        tracker = FaceTracker(self.landmarker, self.config.max_gap_frames)
        height = width = 0
        for rgb in iter_frames(video):
            height, width = rgb.shape[:2]
            faces.append(tracker.next(rgb))
            pictures.add(rgb, faces[-1])
        assert len(faces) == len(times), f"{name}: {len(faces)} frames decoded, {len(times)} rows in frames.parquet"
        if not any(faces):
            raise Quarantine("no_face", f"{name}: none of {len(faces)} frames shows a face to the landmark model")

        fps = probe(video).fps
        sequence = build_sequence(
            faces, times, fps, width, height, self.asset.model, self.geometry, self.config.max_gap_frames
        )
        write_landmarks(sequence, item.out / "landmarks.parquet", {"geometry": geometry_name(self.asset)})
        masks = latent_masks(sequence, self.config.expression_radius, item.facts.factor)
        write_masks(item.out / "masks.parquet", *masks)
        scores = clip_scores(sequence, self.geometry)
        return LandmarkRow(**scores.model_dump(), **pictures.row().model_dump())


def load_geometry(asset: LandmarkerAsset) -> FaceGeometry:
    """The canonical face that goes with a landmark model: its own, or our mean face where it has none."""
    return FaceGeometry.from_task(asset.path) if asset.has_matrix else FaceGeometry.mean_mesh()


def geometry_name(asset: LandmarkerAsset) -> str:
    """`task` when the landmark model brings its canonical face, else `mean_mesh`."""
    return "task" if asset.has_matrix else "mean_mesh"


class FaceTracker:
    """Follows one face through a clip: the largest at first, then the one that overlaps the last known box most.

    A face elsewhere in the frame is another person and is not taken while the gap is short; after a longer gap the
    largest is taken again.
    """

    def __init__(self, landmarker: FaceLandmarker, max_gap_frames: int) -> None:
        self.landmarker = landmarker
        self.max_gap_frames = max_gap_frames
        self._last: DetectedFace | None = None
        self._missed = 0

    def next(self, rgb: np.ndarray) -> DetectedFace | None:
        """The followed face in the next frame (h, w, 3) uint8, or None."""
        face = self._choose(self.landmarker.detect(rgb))
        if face is None and self._last is not None and self._missed <= self.max_gap_frames:
            # a second look costs one detection and finds faces that a busy background hides from the first
            face = self._choose(self.landmarker.detect_around(rgb, self._last.box))
        self._missed = 0 if face is not None else self._missed + 1
        self._last = face or self._last
        return face

    def _choose(self, faces: list[DetectedFace]) -> DetectedFace | None:
        if not faces or self._last is None or self._missed > self.max_gap_frames:
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
    points = np.full((len(faces), POINT_COUNT, 3), np.nan, np.float32)
    shapes = np.full((len(faces), BLENDSHAPE_COUNT), np.nan, np.float32)
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


def latent_masks(sequence: LandmarkSequence, radius_fraction: float, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Expression and face masks at latent size: two (f, height / factor, width / factor) float32."""
    pixels = sequence.pixels()
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(pixels), _MASK_CHUNK):
        chunk = pixels[start : start + _MASK_CHUNK]
        expression = expression_mask(chunk, sequence.height, sequence.width, radius_fraction)
        face = face_mask(chunk, sequence.height, sequence.width)
        parts.append((to_latent(expression, factor), to_latent(face, factor)))
    return _joined(part[0] for part in parts), _joined(part[1] for part in parts)


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(parts))


LANDMARKS = Stage(
    "landmarks",
    "1",
    settings=lambda recipe: recipe.landmarks,
    reads={"video": Kind.CLIP, "frames": Kind.FRAME_TIMES},
    writes={"landmarks.parquet": Kind.LANDMARKS, "masks.parquet": Kind.MASKS},
    row=LandmarkRow,
    open=LandmarkWorker,
    resources=Resources(memory_gib=1.5),
    tools=("mediapipe", "decord"),
    uses_landmarker=True,
)
