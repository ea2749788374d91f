"""Landmarks, masks and quality scores of a square clip.

One pass over the clip: every frame is looked at, one face is followed, short gaps are interpolated and flagged, longer
ones stay invalid. Scores are stored, not judged: screening (`tasks/screening.py`) can change its mind without
detecting again.
"""

from __future__ import annotations

from functools import partial
from itertools import islice

import numpy as np
import pyarrow.parquet as pq

from fye_model.config import Config, LandmarkConfig
from fye_model.landmarks.masks import latent_masks
from fye_model.landmarks.table import write_landmarks, write_masks
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Quarantine
from tasks.engine.stage import Context, Stage
from tasks.faces.detector import DetectedFace
from tasks.faces.follow import FaceTracker, build_sequence, geometry_name, load_geometry
from tasks.faces.landmarker import LANDMARK_TOOLS
from tasks.faces.overlays import OverlayRow, OverlayScores
from tasks.faces.plausible import PlausibleRow, TurnedLooks, other_looks, shape_scores
from tasks.faces.scores import ClipScores, PictureRow, PictureScores, clip_scores
from tasks.faces.worker import FaceWorker
from tasks.footage.duplicates import thumbnail, write_thumbnails
from tasks.media.read import iter_frames, probe, read_frames

AT_ONCE = 16  # frames in memory: the landmark model is faster on several, and on more than this no faster yet
_MOST_FACES = 3  # candidates in a clip's frame; the landmark model runs only on those that are there


class LandmarkFacts(Config):
    """What the masks have to fit: pixels per latent cell of the autoencoder that the clip will be encoded with."""

    factor: int


class LandmarkRow(ClipScores, PictureRow, PlausibleRow, OverlayRow):
    """A clip's scores, by which screening judges it."""


class LandmarkWorker(FaceWorker[LandmarkFacts, LandmarkRow]):
    """Writes landmarks, masks and thumbnails of one clip after another; the landmarker lives as long as it."""

    def __init__(self, settings: LandmarkConfig, context: Context) -> None:
        super().__init__(context, _MOST_FACES)
        self.config, self.geometry = settings, load_geometry(self.asset)

    def process(self, item: Given[LandmarkFacts]) -> LandmarkRow:
        """Landmarks and masks of `video`, whose frames' source times are in `frames`.

        Raises `Quarantine` (no_face) when no frame shows a face.
        """
        name, video = item.name, item.files["video"]
        times = pq.read_table(item.files["frames"])["time_s"].to_numpy().astype(np.float64)
        pictures, overlays = PictureScores(), OverlayScores()
        faces: list[DetectedFace | None] = []
        thumbnails: list[np.ndarray] = []
        tracker, turned = FaceTracker(self.landmarker, self.config.max_gap_frames), TurnedLooks(self.landmarker)
        height = width = 0
        passing = iter_frames(video)
        while frames := list(islice(passing, AT_ONCE)):
            height, width = frames[0].shape[:2]
            followed = tracker.follow(frames)
            for rgb, face in zip(frames, followed, strict=True):
                pictures.add(rgb, face)
                turned.add(rgb, face)
                overlays.add(rgb, face)
                thumbnails.append(thumbnail(rgb))
            faces += followed
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
        write_thumbnails(item.out / "thumbnails.npy", thumbnails)
        scores = clip_scores(sequence, self.geometry, tracker.found)
        shape = shape_scores(sequence, self.geometry)
        # frames are decoded again only where a face is in doubt
        apart = other_looks(self.landmarker, sequence, shape, turned, partial(read_frames, video))
        return LandmarkRow(
            **scores.model_dump(),
            **pictures.row().model_dump(),
            **shape.model_dump(),
            **overlays.row(sequence, self.geometry).model_dump(),
            looks_apart=apart,
        )


LANDMARKS = Stage(
    "landmarks",
    "10",
    settings=lambda recipe: recipe.landmarks,
    reads={"video": Kind.CLIP, "frames": Kind.FRAME_TIMES},
    writes={
        "landmarks.parquet": Kind.LANDMARKS,
        "masks.parquet": Kind.MASKS,
        "thumbnails.npy": Kind.THUMBNAILS,
    },
    row=LandmarkRow,
    open=LandmarkWorker,
    resources=Resources(memory_gib=1.5),
    tools=(*LANDMARK_TOOLS, "decord"),
    uses_landmarker=True,
)
