"""Scoring of a bench: what a result video is, the faces in it, and its scores against the driver. Three small stages.

The same faces, scored the same way, whoever made the video: landmarks are found anew in drivers and results, by one
model at one size. Every step is done a video at a time, so a killed scoring goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fye_model.config import Config, Recipe
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.cross import METRICS_OF
from fye_model.evaluation.faces import FaceTrack
from fye_model.evaluation.scores import ClipScores, score
from fye_model.evaluation.tools import MetricTools
from fye_model.evaluation.windows import moving_window
from fye_model.files import write_json
from fye_model.landmarks.table import read_landmarks, write_landmarks
from tasks.bench.check import result_problems
from tasks.bench.frames import ProbeRow, picture_at_size, probe_to_the_end, video_at_size
from tasks.bench.inputs import Videos, bench_file
from tasks.bench.manifest import Bench, PairRow
from tasks.bench.manifest import Kind as PairKind
from tasks.bench.methods import REFERENCE, Method
from tasks.bench.tables import Scores
from tasks.engine.contract import Kind, Resources
from tasks.engine.items import NOTHING, Given, Item, Nothing, Outcome, Worker
from tasks.engine.stage import Context, Stage
from tasks.engine.store import FileRef, Store, digest
from tasks.faces.follow import build_sequence, load_geometry
from tasks.faces.landmarker import LANDMARK_TOOLS
from tasks.faces.worker import FaceWorker
from tasks.results.records import scores_from_json, scores_to_json


class FacesSettings(Config):
    """Which frames of a result are scored, and at which size: `EvaluationConfig` has the meaning of each."""

    frames: int
    size: int
    window: str


class ScoreSettings(FacesSettings, MetricTools):
    """The same, and what the metrics are made with."""


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
    "2",
    settings=_faces_settings,
    reads={"video?": Kind.RESULT, "picture?": Kind.PORTRAIT},
    writes={"landmarks.parquet": Kind.LANDMARKS},
    row=FacesRow,
    open=FacesWorker,
    resources=Resources(memory_gib=1.5),
    tools=(*LANDMARK_TOOLS, "av", "pillow"),
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
    "4",
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


def probe_items(videos: Mapping[str, Videos]) -> list[Item[Nothing]]:
    """Every video of every method once, by its digest."""
    refs = {ref.sha256: ref for of in videos.values() for ref in of.values()}
    return [Item(sha256, Path(ref.path).name, {"video": ref}, NOTHING) for sha256, ref in refs.items()]


def check_results(
    bench: Bench, methods: Sequence[Method], videos: Mapping[str, Videos], probed: Mapping[str, Outcome[ProbeRow]]
) -> None:
    """Raise ValueError that names all that is wrong with the methods' videos. probed: what PROBE found, by digest."""
    problems: list[str] = []
    for method in methods:
        problems += method.problems
        outcomes = {pair: probed[ref.sha256] for pair, ref in videos[method.name].items()}
        found = {pair: of.row if of.done else f"{of.reason}: {of.message}" for pair, of in outcomes.items()}
        problems += result_problems(bench, method.name, found)
    if problems:
        told = "\n".join(f"  {problem}" for problem in problems)
        raise ValueError(f"{len(problems)} problems with the results, so nothing was scored:\n{told}")


def _drivers(bench: Bench) -> dict[str, FileRef]:
    return {pair.driving: bench_file(bench, bench.driver(pair).file) for pair in bench.pairs}


def _portraits(bench: Bench) -> dict[str, FileRef]:
    return {pair.portrait: bench_file(bench, bench.portrait(pair).file) for pair in bench.pairs}


def face_items(bench: Bench, videos: Mapping[str, Videos]) -> list[Item[Nothing]]:
    """All videos and pictures that faces are looked for in: drivers, portraits and results, each once."""
    drivers, portraits = _drivers(bench), _portraits(bench)
    looked_at = {ref.sha256: ("video", ref) for of in (drivers, *videos.values()) for ref in of.values()}
    looked_at |= {ref.sha256: ("picture", ref) for ref in portraits.values()}
    return [Item(sha256, Path(ref.path).name, {kind: ref}, NOTHING) for sha256, (kind, ref) in looked_at.items()]


def score_items(
    bench: Bench, videos: Mapping[str, Videos], faces: Mapping[str, Outcome[FacesRow]]
) -> dict[str, dict[str, Item[PairFacts]]]:
    """Method -> pair's name -> its item; the repeated reference is a method too. faces: what FACES made, by digest."""
    drivers, portraits = _drivers(bench), _portraits(bench)

    def item(pair: PairRow, video: FileRef | None) -> Item[PairFacts]:
        driver, portrait = drivers[pair.driving], portraits[pair.portrait]
        looked_at = {"driving_landmarks": driver, "portrait_landmarks": portrait, "landmarks": video or portrait}
        inputs = {name: faces[ref.sha256].ref("landmarks.parquet") for name, ref in looked_at.items()}
        inputs |= {"driving": driver, "portrait": portrait} | ({"video": video} if video else {})
        return Item(digest([pair.name, video and video.sha256]), pair.name, inputs, PairFacts(kind=pair.kind))

    made = {method: {pair.name: item(pair, of[pair.name]) for pair in bench.pairs} for method, of in videos.items()}
    return {**made, REFERENCE: {pair.name: item(pair, None) for pair in bench.pairs}}


def distinct(items: Mapping[str, Mapping[str, Item[PairFacts]]]) -> list[Item[PairFacts]]:
    """The items of all methods, those that two of them share once."""
    return list({entry.id: entry for of in items.values() for entry in of.values()}.values())


def collect_scores(
    store: Store, items: Mapping[str, Mapping[str, Item[PairFacts]]], scored: Mapping[str, Outcome[ScoreRow]]
) -> Scores:
    """What SCORE wrote, for each method and pair."""
    return {
        method: {
            pair: read_scores(store.local_path(scored[entry.id].ref("scores.json").path)) for pair, entry in of.items()
        }
        for method, of in items.items()
    }


def read_scores(path: Path) -> ClipScores:
    """What SCORE wrote of one result."""
    return scores_from_json(json.loads(path.read_text(encoding="utf-8")))
