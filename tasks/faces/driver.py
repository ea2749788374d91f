"""Who drives: a video's landmarks, frame by frame, or a stored table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fye_model.landmarks.table import LandmarkSequence, read_landmarks
from tasks.engine.items import Quarantine
from tasks.faces.choice import FirstOfDriver
from tasks.faces.detector import DetectedFace, FaceLandmarker
from tasks.faces.follow import FaceTracker, build_sequence, load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.plausible import LOOKS_APART, TurnedLooks, other_looks, shape_scores
from tasks.media.moving import Moving, look_at, refuse
from tasks.media.opening import printable

STILL_S = 2.0  # how long a still picture is held


@dataclass(frozen=True)
class Driver:
    """landmarks: of every frame that is shown. moving: its pictures, None for a stored table. sound: the file that has
    it, or None; first_s: when the first frame is shown, on that file's clock. notes: what a user should know of it.
    still: it is a single picture, and all frames are the same."""

    landmarks: LandmarkSequence
    moving: Moving | None
    first_s: float
    notes: tuple[str, ...]
    still: bool = False

    @property
    def sound(self) -> Path | None:
        return None if self.moving is None else self.moving.sound


def is_table(path: Path) -> bool:
    """Whether a driver is a stored landmark table."""
    return path.suffix.lower() == ".parquet"


def read_driver(
    path: Path,
    landmarker: FaceLandmarker,
    asset: LandmarkerAsset,
    max_gap_frames: int,
    frames_fps: float = 25.0,
    still_s: float = STILL_S,
    face: str = "largest",
    what: str = "driving video",
) -> Driver:
    """Landmarks of every frame of a video, a folder of frames or a still picture; or of a stored table.

    Videos are shown as a player does, at their own rate; gaps up to `max_gap_frames` are filled. frames_fps: of a
    folder of frames and a still picture, which is held for `still_s`. face: which of several faces drives (see
    `choose_faces`), chosen in the first frame that shows it. what: what messages call it. Raises ValueError for an
    empty or unreadable driver, and for landmarks of another model than `asset`'s.
    """
    if is_table(path):
        return Driver(_stored(path, asset), None, 0.0, ())
    name = printable(path)
    choice = FirstOfDriver(face, landmarker)
    tracker, turned = FaceTracker(landmarker, max_gap_frames, choice), TurnedLooks(landmarker)
    faces: list[DetectedFace | None] = []
    found: DetectedFace | None = None
    seen_s, width, height = float("nan"), 0, 0
    try:
        moving = look_at(path, frames_fps, still_s)
        with moving.open() as video:
            for time_s, rgb in video.pictures():
                if time_s != seen_s:
                    found, seen_s = tracker.next(rgb), time_s
                    turned.add(rgb, found)
                    height, width = rgb.shape[:2]
                faces.append(found)
            notes = (*moving.notes, *video.notes())
    except Quarantine as error:
        raise refuse(path, error, what) from error
    except OSError as error:
        raise ValueError(f"{name}: the {what} cannot be read: {error}") from error
    if not faces:
        raise ValueError(f"{name}: the {what} is empty: no frame could be decoded")
    if not any(faces):
        which = "a face" if face == "largest" else f"face {face} (at most {choice.most} were seen in one)"
        raise ValueError(f"{name}: none of {len(faces)} frames of the {what} shows {which}")
    fps = moving.settings.fps
    times = np.arange(len(faces)) / fps
    geometry = load_geometry(asset)
    landmarks = build_sequence(faces, times, fps, width, height, asset.model, geometry, max_gap_frames)
    shape = shape_scores(landmarks, geometry)
    apart = other_looks(landmarker, landmarks, shape, turned, partial(_pictures, moving))
    if apart is not None and apart > LOOKS_APART:
        followed = "hardly a face" if shape.doubtful else "a face upside down, which is misread"
        notes += (f"what is followed in it is {followed}: the result will show it",)
    return Driver(landmarks, moving, video.first_s, notes, video.alone)


def _pictures(moving: Moving, frames: Sequence[int]) -> list[np.ndarray]:
    """These pictures of a driver, by their ascending numbers."""
    wanted = set(frames)
    with moving.open() as video:
        return [rgb for number, (_, rgb) in enumerate(video.pictures()) if number in wanted]


def _stored(path: Path, asset: LandmarkerAsset) -> LandmarkSequence:
    sequence = read_landmarks(path)
    if sequence.model != asset.model:
        raise ValueError(
            f"{path}: landmarks of {sequence.model}, but the portrait's would be of {asset.model}; points of two "
            "models never mix: detect the driver again, or use the landmark model that it was detected with"
        )
    return sequence
