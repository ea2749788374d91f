"""Scoring of a bench: what a result video is, the faces in it, and its scores against the driver. Three small stages.

The same faces, scored the same way, whoever made the video: landmarks are found anew in drivers and results, by one
model at one size. Every step is done a video at a time, so a killed scoring goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fye_model.config import Config, Recipe
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.cross import CROSS_METRICS, SELF_METRICS
from fye_model.evaluation.extra import installed
from fye_model.evaluation.faces import FaceTrack
from fye_model.evaluation.scores import ClipScores, score
from fye_model.evaluation.windows import moving_window
from fye_model.files import write_json
from fye_model.landmarks.table import read_landmarks, write_landmarks
from tasks.bench.frames import ProbeRow, picture_at_size, probe_to_the_end, video_at_size
from tasks.bench.manifest import Kind as PairKind
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import Given, Nothing, Worker
from tasks.engine.stage import Context, Stage
from tasks.faces.follow import build_sequence, load_geometry
from tasks.faces.worker import FaceWorker
from tasks.results.records import scores_from_json, scores_to_json

METRICS_OF = {"self": SELF_METRICS, "cross": CROSS_METRICS}


class FacesSettings(Config):
    """Which frames of a result are scored, and at which size: `EvaluationConfig` has the meaning of each."""

    frames: int
    size: int
    window: str


class ScoreSettings(FacesSettings):
    """The same, and what the metrics are made with."""

    metric_packages: tuple[str, ...] = (
        installed()
    )  # scores without a package of `pip install '.[metrics]'` are made anew


class ProbeWorker(Worker[Nothing, ProbeRow]):
    """Decodes a video to its end."""

    def __init__(self, settings: Nothing, context: Context) -> None:
        pass

    def process(self, item: Given[Nothing]) -> ProbeRow:
        """Count the frames of `video`. Raises `Quarantine` for one that cannot be read."""
        return probe_to_the_end(item.files["video"])


PROBE = Stage(
    "bench_probe",
    "1",
    settings=lambda recipe: Nothing(),
    reads={"video": Kind.RESULT},
    writes={},
    row=ProbeRow,
    open=ProbeWorker,
    tools=("av",),
    resources=Resources(memory_gib=0.5),
)


class FacesRow(Config):
    """How many frames were looked at, and in how many a face was found."""

    frames: int
    found: int


class FacesWorker(FaceWorker[Nothing, FacesRow]):
    """Writes landmarks.parquet of a square video, or of a picture, at the size of the comparison."""

    def __init__(self, settings: FacesSettings, context: Context) -> None:
        super().__init__(context)
        self.settings, self.geometry = settings, load_geometry(self.asset)

    def process(self, item: Given[Nothing]) -> FacesRow:
        """The largest face of every frame of `video`, or of `picture`; frames without one stay empty."""
        size = self.settings.size
        found = [self.landmarker.detect(frame) for frame in self._frames(item)]
        faces = [candidates[0] if candidates else None for candidates in found]
        times = np.arange(len(faces), dtype=np.float64)
        sequence = build_sequence(faces, times, 1.0, size, size, self.asset.model, self.geometry, max_gap_frames=0)
        write_landmarks(sequence, item.out / "landmarks.parquet")
        return FacesRow(frames=len(faces), found=sum(face is not None for face in faces))

    def _frames(self, item: Given[Nothing]) -> Iterator[np.ndarray]:
        if "picture" in item.files:
            yield picture_at_size(item.files["picture"], self.settings.size)
        else:
            # the reference and the frames after it; the moving window may be anywhere
            stop = 1 + self.settings.frames if self.settings.window == "start" else None
            yield from video_at_size(item.files["video"], self.settings.size, 0, stop)


def _faces_settings(recipe: Recipe) -> FacesSettings:
    config = recipe.evaluation
    return FacesSettings(frames=config.frames, size=config.size, window=config.window)


FACES = Stage(
    "bench_faces",
    "1",
    settings=_faces_settings,
    reads={"video?": Kind.RESULT, "picture?": Kind.PORTRAIT},
    writes={"landmarks.parquet": Kind.LANDMARKS},
    row=FacesRow,
    open=FacesWorker,
    resources=Resources(memory_gib=1.5),
    tools=("mediapipe", "av", "pillow"),
    uses_landmarker=True,
)


class PairFacts(Config):
    """self: the result is compared with the driver as with its truth; cross: another face performs."""

    kind: PairKind


class ScoreRow(Config):
    """What was scored; the scores are in scores.json."""

    frames: int
    no_face_in_result: int
    no_face_in_truth: int


class ScoreWorker(Worker[PairFacts, ScoreRow]):
    """Writes scores.json of one result after another."""

    def __init__(self, settings: ScoreSettings, context: Context) -> None:
        self.settings = settings
        self.geometry = load_geometry(context.landmarker)

    def process(self, item: Given[PairFacts]) -> ScoreRow:
        """Score `video`, or without one `portrait` repeated, against `driving`; `landmarks` are of the result."""
        truth_track = self._track(item.files["driving_landmarks"])
        track = self._track(item.files["landmarks"])
        length = self.settings.frames
        if self.settings.window == "moving":
            start, stop = moving_window(truth_track, 1, len(truth_track), length)
        else:
            start, stop = 1, min(1 + length, len(truth_track))
        truth = Truth(
            np.stack(list(video_at_size(item.files["driving"], self.settings.size, start, stop))),
            _part(truth_track, start, stop),
        )
        portrait = picture_at_size(item.files["portrait"], self.settings.size)
        if "video" in item.files:
            frames = np.stack(list(video_at_size(item.files["video"], self.settings.size, start, stop)))
            track = _part(track, start, stop)
        else:
            frames, track = np.repeat(portrait[None], stop - start, axis=0), track.repeated(stop - start)
        face = self._track(item.files["portrait_landmarks"])
        comparison = Comparison(truth, frames, track, portrait, face)
        scores = score(comparison, METRICS_OF[item.facts.kind])
        write_json(item.out / "scores.json", scores_to_json(scores))
        return ScoreRow(
            frames=scores.frames,
            no_face_in_result=scores.no_face_in_result,
            no_face_in_truth=scores.no_face_in_truth,
        )

    def _track(self, path: Path) -> FaceTrack:
        sequence = read_landmarks(path)
        shapes = None if sequence.blendshapes is None else sequence.blendshapes.astype(np.float64)
        if not sequence.valid.any():  # no face in any frame, whatever the model gives where there is one
            shapes = np.full((len(sequence), 52), np.nan)
        return FaceTrack(sequence.points.astype(np.float64), shapes, sequence.width, sequence.height, self.geometry)


def _part(track: FaceTrack, start: int, stop: int) -> FaceTrack:
    shapes = None if track.blendshapes is None else track.blendshapes[start:stop]
    return FaceTrack(track.points[start:stop], shapes, track.width, track.height, track.geometry)


def _settings(recipe: Recipe) -> ScoreSettings:
    config = recipe.evaluation
    return ScoreSettings(frames=config.frames, size=config.size, window=config.window)


SCORE = Stage(
    "bench_score",
    "2",
    settings=_settings,
    reads={
        "driving": Kind.DRIVING,
        "driving_landmarks": Kind.LANDMARKS,
        "landmarks": Kind.LANDMARKS,
        "portrait": Kind.PORTRAIT,
        "portrait_landmarks": Kind.LANDMARKS,
        "video?": Kind.RESULT,
    },
    writes={"scores.json": Kind.SCORES},
    row=ScoreRow,
    open=ScoreWorker,
    resources=Resources(memory_gib=1.5),
    tools=("av", "pillow", "scipy"),
    uses_landmarker=True,
)


def read_scores(path: Path) -> ClipScores:
    """What SCORE wrote of one result."""
    return scores_from_json(json.loads(path.read_text(encoding="utf-8")))
