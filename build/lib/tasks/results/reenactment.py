"""A held-out clip, reenacted and scored: what selection and evaluation both do, clip by clip.

Reads the training index and the clip folders; landmarks are detected anew in the truth and in the result, by one model
at one size, so that a perfect copy has no landmark error at all.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import JsonValue

from fye_model.config import EvaluationConfig, SamplingConfig
from fye_model.evaluation.aggregate import INTERVAL
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.extra import installed
from fye_model.evaluation.faces import Detection, FaceTrack
from fye_model.evaluation.reenact import Reenactment, self_reenact
from fye_model.evaluation.scores import ClipScores, score
from fye_model.evaluation.table import protocol_texts
from fye_model.evaluation.weights import weights_here
from fye_model.evaluation.windows import Motion, furthest_frame, motion, moving_window
from fye_model.landmarks.drawing import Variant, draw_landmarks, landmark_points
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence, read_landmarks
from tasks.engine.items import Given
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LandmarkerAsset, geometry_source
from tasks.media.read import read_frames
from tasks.workspace.dataset import INDEX_SCHEMA, ClipSet, write_index


@dataclass(frozen=True)
class Entry:
    """A clip of the index with what evaluation needs of it: its held-out span [start, stop) and two files.

    trained_on: whether training saw other frames of this same clip.
    """

    clip: str
    name: str
    subject: str
    val: tuple[int, int]
    trained_on: bool
    landmarks: Path
    video: Path


@dataclass(frozen=True)
class HeldOut:
    """The clips of a training index that have held-out frames, and what is needed to draw their landmarks."""

    landmark_model: str
    size: int
    fps: float
    geometry: FaceGeometry
    clips: list[Entry]

    def spread(self, count: int | None) -> list[Entry]:
        """At most `count` clips, spread evenly over the index so that they are not all of the first subject."""
        if count is None or count >= len(self.clips):
            return self.clips
        picks = np.linspace(0, len(self.clips) - 1, count).round().astype(int)
        return [self.clips[i] for i in picks]


@dataclass(frozen=True)
class HeldOutClip:
    """Frames and drawn landmarks of a clip, (f, s, s, 3) uint8 each: the reference first, then those that drive.

    span: [start, stop) of the frames taken, without a reference that lies elsewhere; reference: its frame number in
    the clip. driven: (f,) landmarks are valid. trained_on: whether training saw other frames of this clip.
    """

    clip: str
    name: str
    subject: str
    span: tuple[int, int]
    reference: int
    trained_on: bool
    frames: np.ndarray
    pictures: np.ndarray
    driven: np.ndarray


@dataclass(frozen=True)
class ScoredClip:
    """A reenacted clip with the model's and the baseline's scores, at the evaluated size.

    truth_signals: signal -> a value a frame. motion: how much the truth moves.
    """

    reenactment: Reenactment
    model: ClipScores
    baseline: ClipScores
    truth_signals: dict[str, tuple[float, ...]]
    motion: Motion


def read_held_out(index_path: Path) -> HeldOut:
    """Read a training index, or one without the files that only training reads (masks, latents).

    Raises ValueError when it is none, or when no clip has 2 held-out frames.
    """
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"index {index_path} cannot be read: {error}") from error
    found = index.get("schema") if isinstance(index, dict) else type(index).__name__
    if found != INDEX_SCHEMA:
        raise ValueError(f"index {index_path}: schema is {found!r}, expected {INDEX_SCHEMA}; write it again")
    folder = index_path.resolve().parent
    clips = []
    for number, values in enumerate(index["clips"]):
        try:
            start, stop = values["val"]
            if stop - start >= 2:
                files = {name: folder / values[name] for name in ("landmarks", "video")}
                seen = values.get("train", [0, 0])
                names = (values["clip"], values["name"], values["subject"])
                clips.append(Entry(*names, (start, stop), seen[1] > seen[0], **files))
        except (KeyError, TypeError, ValueError) as error:
            name = values.get("name", number) if isinstance(values, dict) else number
            raise ValueError(f"index {index_path}: clip {name}: {error!r} is missing or wrong") from error
    if not clips:
        raise ValueError(
            f"{index_path}: none of its {len(index['clips'])} clips has 2 held-out frames, so nothing can be "
            "evaluated; raise split.holdout, choose split.by: tail, or add clips"
        )
    task = index["geometry"]
    geometry = FaceGeometry.mean_mesh() if task == "mean_mesh" else FaceGeometry.from_task(folder / task)
    return HeldOut(index["landmark_model"], int(index["size"]), float(index["fps"]), geometry, clips)


@contextlib.contextmanager
def training_index(item: Given[ClipSet], landmarker: LandmarkerAsset) -> Iterator[Path]:
    """The index of a whole stage's inputs, for as long as the block lasts, beside the stage's output folder."""
    path = item.out.parent / f"{item.out.name}.index.json"
    try:
        yield write_index(path, item.files, item.facts, geometry_source(landmarker))
    finally:
        path.unlink(missing_ok=True)


def prepare_threads(threads: int) -> None:
    """Set the number of torch threads of this process; 0 leaves it as it is."""
    import torch

    if threads:
        torch.set_num_threads(threads)


def load_clip(
    held_out: HeldOut,
    entry: Entry,
    max_frames: int,
    variant: Variant,
    config: EvaluationConfig = EvaluationConfig(),  # noqa: B008  a frozen record
) -> HeldOutClip:
    """Decode a reference and at most `max_frames` held-out frames, and draw their landmarks as in training.

    Which ones is `config.window` and `config.protocol`. Raises ValueError, naming the clip, when video and landmarks
    do not belong together or to this index, or when the clip has no frame for the protocol.
    """
    where = f"clip {entry.name} ({entry.clip})"
    sequence = read_landmarks(entry.landmarks)
    if sequence.model != held_out.landmark_model:
        raise ValueError(f"{where}: landmarks of {sequence.model}, the index says {held_out.landmark_model}")
    try:
        reference, start, stop = _choose(held_out, entry, sequence, max_frames, config)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if len(sequence) < stop:
        raise ValueError(f"{where}: held-out frames {start} to {stop}, but landmarks of {len(sequence)} frames")
    frames = read_frames(entry.video, slice(start, stop))
    places = np.arange(start, stop)
    if reference != start:
        first = read_frames(entry.video, slice(reference, reference + 1))
        frames, places = np.concatenate([first, frames]), np.concatenate([[reference], places])
    if frames.shape[1:] != (sequence.height, sequence.width, 3) or len(frames) != len(places):
        raise ValueError(
            f"{where}: its video has frames {frames.shape}, expected {len(places)} of "
            f"{sequence.height}x{sequence.width} as its landmarks say; make the clip again"
        )
    part = sequence.select(places)
    pictures = draw_landmarks(
        landmark_points(part, variant, held_out.geometry), sequence.height, sequence.width, variant
    )
    names = (entry.clip, entry.name, entry.subject)
    return HeldOutClip(*names, (start, stop), reference, entry.trained_on, frames, pictures, part.valid)


def _choose(
    held_out: HeldOut, entry: Entry, sequence: LandmarkSequence, max_frames: int, config: EvaluationConfig
) -> tuple[int, int, int]:
    """The reference's frame number, and the span [start, stop) of the frames taken."""
    start, stop = entry.val
    length = max_frames + (1 if config.protocol == "first" else 0)
    points = sequence.points.astype(np.float64)
    track = FaceTrack(points, None, sequence.width, sequence.height, held_out.geometry)
    if config.window == "moving":
        start, stop = moving_window(track, start, min(stop, len(track)), length)
    stop = min(stop, start + length)
    return (start if config.protocol == "first" else furthest_frame(track, (start, stop))), start, stop


def evaluated_size(held_out: HeldOut, size: int) -> int:
    """Side in pixels at which results are compared: as asked, but never larger than the clips are."""
    return min(size, held_out.size)


def score_clip(
    pipeline: Callable[..., Any],
    clip: HeldOutClip,
    landmarker: FaceLandmarker,
    sampling: SamplingConfig,
    max_frames: int,
    size: int,
    geometry: FaceGeometry,
) -> ScoredClip:
    """Reenact a clip, and score the result and the repeated reference against the truth at `size` x `size`."""
    pair = self_reenact(pipeline, clip.frames, clip.pictures, sampling, max_frames).resized(size)
    truth = Truth(pair.truth, detect_faces(landmarker, pair.truth, geometry))
    reference = detect_faces(landmarker, pair.reference[None], geometry)
    baseline = Comparison(truth, pair.baseline(), reference.repeated(len(pair.truth)))
    return ScoredClip(
        reenactment=pair,
        model=score(Comparison(truth, pair.result, detect_faces(landmarker, pair.result, geometry))),
        baseline=score(baseline),
        truth_signals={name: tuple(map(float, values)) for name, values in truth.signals.items()},
        motion=motion(truth.signals),
    )


def detect_faces(landmarker: FaceLandmarker, frames: np.ndarray, geometry: FaceGeometry) -> FaceTrack:
    """The largest face of every frame of (f, h, w, 3)."""
    found = [landmarker.detect(frame) for frame in frames]
    detections = [Detection(faces[0].points, faces[0].blendshapes) if faces else None for faces in found]
    height, width = frames.shape[1:3]
    return FaceTrack.of(detections, width, height, geometry, landmarker.has_blendshapes)


_TASKS = {
    "first": "self reenactment: the first frame taken is the reference, those after it drive and are the truth",
    "far": "self reenactment: held-out frames drive and are the truth; the reference is the clip's frame furthest from "
    "them in pose and expression",
}
_WINDOWS = {"start": "from the start of the held-out span", "moving": "where most moves in the held-out span"}


def protocol(
    held_out: HeldOut,
    sampling: SamplingConfig,
    max_frames: int,
    size: int,
    variant: str,
    config: EvaluationConfig = EvaluationConfig(),  # noqa: B008  a frozen record
) -> dict[str, JsonValue]:
    """Everything a number has to be read with."""
    return {
        "task": _TASKS[config.protocol],
        "frames_taken": _WINDOWS[config.window],
        "max_frames": max_frames,
        "generated_size": held_out.size,
        "evaluated_size": evaluated_size(held_out, size),
        "crop": "the clip's square face crop, whole; area-averaged to the evaluated size",
        "landmark_model": held_out.landmark_model,
        "metrics": {**protocol_texts()},
        "metric_packages": ", ".join(installed()) or "none",
        "metric_weights": ", ".join(weights_here()) or "none",
        "interval": INTERVAL,
        "landmark_variant": variant,
        "sampling": sampling.model_dump(mode="json"),
    }


def check_landmark_model(held_out: HeldOut, landmarker: FaceLandmarker) -> None:
    """Raise ValueError unless the detector is the model that made the data set: two models' points never mix."""
    if landmarker.model != held_out.landmark_model:
        raise ValueError(
            f"the data set's landmarks are of {held_out.landmark_model}, the detector at {landmarker.asset} is "
            f"{landmarker.model}; give the model that made the data set"
        )
