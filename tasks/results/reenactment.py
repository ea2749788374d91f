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

from fye_model.config import SamplingConfig
from fye_model.evaluation.metrics import NO_FACE_ERROR, FrameScores, score_frames
from fye_model.evaluation.reenact import Reenactment, self_reenact
from fye_model.landmarks.drawing import Variant, draw_landmarks, landmark_points
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import read_landmarks
from fye_model.landmarks.topology import OUTER_EYE_CORNERS
from tasks.engine.items import Given
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LandmarkerAsset, geometry_source
from tasks.media.read import read_frames
from tasks.workspace.dataset import INDEX_SCHEMA, ClipSet, write_index


@dataclass(frozen=True)
class Entry:
    """A clip of the index with what evaluation needs of it: its held-out span [start, stop) and two files."""

    clip: str
    name: str
    subject: str
    val: tuple[int, int]
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
    """Frames and drawn landmarks of one held-out span, (f, s, s, 3) uint8 each; `driven`: (f,) landmarks are valid."""

    clip: str
    name: str
    subject: str
    span: tuple[int, int]
    frames: np.ndarray
    pictures: np.ndarray
    driven: np.ndarray


@dataclass(frozen=True)
class ScoredClip:
    """A reenacted clip with the model's and the baseline's scores, at the evaluated size."""

    reenactment: Reenactment
    model: FrameScores
    baseline: FrameScores


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
                clips.append(Entry(values["clip"], values["name"], values["subject"], (start, stop), **files))
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


def load_clip(held_out: HeldOut, entry: Entry, max_frames: int, variant: Variant) -> HeldOutClip:
    """Decode the start of a clip's held-out span (reference + `max_frames`) and draw its landmarks as in training.

    Raises ValueError, naming the clip, when video and landmarks do not belong together or to this index.
    """
    start, stop = entry.val[0], min(entry.val[1], entry.val[0] + 1 + max_frames)
    where = f"clip {entry.name} ({entry.clip})"
    sequence = read_landmarks(entry.landmarks)
    if sequence.model != held_out.landmark_model:
        raise ValueError(f"{where}: landmarks of {sequence.model}, the index says {held_out.landmark_model}")
    if len(sequence) < stop:
        raise ValueError(f"{where}: held-out frames {start} to {stop}, but landmarks of {len(sequence)} frames")
    frames = read_frames(entry.video, slice(start, stop))
    if frames.shape[1:] != (sequence.height, sequence.width, 3) or len(frames) != stop - start:
        raise ValueError(
            f"{where}: its video has frames {frames.shape}, expected {stop - start} of "
            f"{sequence.height}x{sequence.width} as its landmarks say; make the clip again"
        )
    part = sequence.select(slice(start, stop))
    pictures = draw_landmarks(
        landmark_points(part, variant, held_out.geometry), sequence.height, sequence.width, variant
    )
    return HeldOutClip(entry.clip, entry.name, entry.subject, (start, stop), frames, pictures, part.valid)


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
) -> ScoredClip:
    """Reenact a clip, and score the result and the repeated reference against the truth at `size` x `size`."""
    pair = self_reenact(pipeline, clip.frames, clip.pictures, sampling, max_frames).resized(size)
    truth_points = detect_points(landmarker, pair.truth)
    reference_points = detect_points(landmarker, pair.reference[None])
    return ScoredClip(
        reenactment=pair,
        model=score_frames(pair.result, pair.truth, detect_points(landmarker, pair.result), truth_points),
        baseline=score_frames(pair.baseline(), pair.truth, reference_points * len(pair.truth), truth_points),
    )


def detect_points(landmarker: FaceLandmarker, frames: np.ndarray) -> list[np.ndarray | None]:
    """Landmarks (478, 3) as fractions in every frame of (f, h, w, 3); None where there is no face."""
    found = [landmarker.detect(frame) for frame in frames]
    return [faces[0].points if faces else None for faces in found]


def protocol(held_out: HeldOut, sampling: SamplingConfig, max_frames: int, size: int, variant: str) -> dict[str, Any]:
    """Everything a number has to be read with."""
    return {
        "task": "self reenactment: the first held-out frame is the reference, those after it drive and are the truth",
        "max_frames": max_frames,
        "generated_size": held_out.size,
        "evaluated_size": evaluated_size(held_out, size),
        "crop": "the clip's square face crop, whole; area-averaged to the evaluated size",
        "landmark_model": held_out.landmark_model,
        "landmark_error": "mean distance of 478 points over the truth's distance between points "
        f"{OUTER_EYE_CORNERS[0]} and {OUTER_EYE_CORNERS[1]}; a result without a face counts as {NO_FACE_ERROR}",
        "ssim": "Gaussian window, sigma 1.5, 11 taps, mean over colours",
        "l1": "mean absolute difference on the scale 0 to 1",
        "interval": "95% percentile bootstrap over clips, 2000 resamples, seed 0",
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
