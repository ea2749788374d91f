"""Landmarks, masks and quality scores of a square clip.

One pass over the clip: every frame is looked at, one face is followed, short gaps are interpolated and flagged, longer
ones stay invalid. Scores are stored, not judged: screening (`tasks/screening.py`) can change its mind without
detecting again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow.parquet as pq

from fye_model.config import LandmarkConfig
from fye_model.landmarks.masks import expression_mask, face_mask, to_latent
from fye_model.landmarks.table import LandmarkSequence, write_landmarks, write_masks
from tasks.engine.items import Quarantine
from tasks.engine.stage import Stage
from tasks.faces.detector import DetectedFace, FaceLandmarker
from tasks.faces.follow import FaceTracker, build_sequence, geometry_name, load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.scores import PictureScores, clip_scores
from tasks.media.read import iter_frames, probe

_MOST_FACES = 3  # candidates in a clip's frame; the landmark model runs only on those that are there
_MASK_CHUNK = 64  # frames whose full-size masks are in memory together


class LandmarkWorker:
    """Writes landmarks.parquet and masks.parquet of one clip after another; the landmarker lives as long as it."""

    def __init__(self, landmarks: LandmarkConfig, landmarker: LandmarkerAsset) -> None:
        self.config = landmarks
        self.asset = landmarker
        self.geometry = load_geometry(landmarker)
        self.landmarker = FaceLandmarker(landmarker.path, landmarker.model, max_faces=_MOST_FACES)

    def __enter__(self) -> Self:
        self.landmarker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.landmarker.close()

    def process(self, files: dict[str, Path], params: dict[str, Any], out: Path) -> dict[str, Any]:
        """Landmarks and masks of `files["video"]`, whose frames' source times are in `files["frames"]`.

        `params`: `factor`, pixels per latent cell (8), and `name` for messages. Returns the scores for screening.
        Raises `Quarantine` (no_face) when no frame shows a face.
        """
        name = str(params.get("name", Path(files["video"]).name))
        frames = pq.read_table(files["frames"])
        times = frames["time_s"].to_numpy().astype(np.float64)
        pictures = PictureScores()
        faces: list[DetectedFace | None] = []
        tracker = FaceTracker(self.landmarker, self.config.max_gap_frames)
        height = width = 0
        for rgb in iter_frames(files["video"]):
            height, width = rgb.shape[:2]
            faces.append(tracker.next(rgb))
            pictures.add(rgb, faces[-1])
        assert len(faces) == len(times), f"{name}: {len(faces)} frames decoded, {len(times)} rows in frames.parquet"
        if not any(faces):
            raise Quarantine("no_face", f"{name}: none of {len(faces)} frames shows a face to the landmark model")

        fps = probe(files["video"]).fps
        sequence = build_sequence(
            faces, times, fps, width, height, self.asset.model, self.geometry, self.config.max_gap_frames
        )
        write_landmarks(sequence, out / "landmarks.parquet", {"geometry": geometry_name(self.asset)})
        masks = latent_masks(sequence, self.config.expression_radius, int(params.get("factor", 8)))
        write_masks(out / "masks.parquet", *masks)
        return clip_scores(sequence, self.geometry) | pictures.row()


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


LANDMARKS = Stage("landmarks", "2", LandmarkWorker, tools=("mediapipe", "decord"), needs=("landmarker",))
