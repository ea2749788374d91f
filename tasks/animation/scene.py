"""Who performs what: faces found, and the driver's motion laid onto each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from fye_model.animation.description import ModelDescription
from fye_model.animation.driving import USUAL_FPS, Motion, motion_points, own_points
from fye_model.animation.inputs import DrawnLandmarks
from fye_model.animation.paste_back import PasteBack
from fye_model.animation.portrait import Cut
from fye_model.config import SamplingConfig
from fye_model.landmarks.drawing import ALIGNED
from fye_model.landmarks.geometry import FaceGeometry
from tasks.animation.request import AnimateRequest
from tasks.faces.detector import FaceLandmarker
from tasks.faces.driver import Driver, read_driver
from tasks.faces.follow import load_geometry
from tasks.faces.known_drivers import ReadDriver
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.subject import Actor, Portrait, read_portrait
from tasks.media.opening import printable

Log = Callable[[str], None]
_MOST_FACES = 8


@dataclass(frozen=True)
class Performance:
    """One face's part: its place in the picture, the picture that the model starts from, and what is drawn for it.
    own: (478, 2) the face in that picture, None where none was found or what is drawn does not lie on it."""

    cut: Cut
    reference: Image.Image
    motion: Motion
    landmarks: DrawnLandmarks
    own: np.ndarray | None = None

    def paste_back(self, fps: float, whole: bool = False) -> PasteBack:
        """Puts what is made for it back into the picture: the head, or the whole square."""
        own = None if whole else self.own
        return PasteBack(self.cut, self.reference, own, self.landmarks.points_px, fps)

    def stretch(self, start: int, count: int) -> Performance:
        """`count` frames from `start` on."""
        motion = self.motion.stretch(slice(start, start + count))
        return replace(self, motion=motion, landmarks=replace(self.landmarks, points_px=motion.points))


@dataclass(frozen=True)
class Scene:
    """All that the frames of a result are made from. notes: what a user was told of it."""

    subject: Portrait
    driver: Driver
    performances: tuple[Performance, ...]
    notes: tuple[str, ...]
    start: int = 0  # of the driver's frames, where only a stretch of it is shown

    def __len__(self) -> int:
        return len(self.performances[0].landmarks)

    @property
    def sound_from_s(self) -> float:
        """Where the sound begins, on its file's clock."""
        return self.driver.first_s + self.start / self.driver.landmarks.fps

    def stretch(self, start: int, count: int) -> Scene:
        """`count` frames from `start` on."""
        return replace(self, performances=tuple(one.stretch(start, count) for one in self.performances), start=start)


def set_scene(
    request: AnimateRequest,
    model: ModelDescription,
    asset: LandmarkerAsset,
    sampling: SamplingConfig,
    log: Log,
    follow: ReadDriver = read_driver,
) -> Scene:
    """Find the faces of portrait and driver, and lay the motion of one onto the others. follow: reads the driver.

    Raises ValueError for what cannot be read, shows no face, or not the one that was asked for.
    """
    geometry = load_geometry(asset)
    with FaceLandmarker(asset.path, asset.model, max_faces=_MOST_FACES) as landmarker:
        wanted = (request.face, request.points, request.box)
        subject = read_portrait(request.portrait, landmarker, model, geometry, *wanted)
        if len(subject.actors) > 1 and not request.paste_back:
            raise ValueError(
                f"{request.portrait}: {len(subject.actors)} faces are animated in one picture: give --paste-back"
            )
        fps = request.frames_fps or model.fps or USUAL_FPS
        how = (asset, model.max_gap_frames, fps, request.still_s, request.driver_face)
        driver = follow(request.driving, landmarker, *how)
    name = printable(Path(request.driving.name))
    notes = [*subject.notes, *(f"{name}: {note}" for note in driver.notes)]
    if model.landmark_variant not in ALIGNED:
        notes.append(f"the model draws {model.landmark_variant} landmarks, the driver's as they are: no alignment")
    if request.transfer is not None and request.transfer.limits and model.poses is None:
        notes.append("the model does not say which head poses it was trained on: no limit is kept")
    performances = tuple(
        _perform(actor, subject.picture, driver, geometry, model, sampling, request) for actor in subject.actors
    )
    notes += dict.fromkeys(f"{name}: {note}" for one in performances for note in one.motion.notes)
    if request.alpha and any(one.motion.head is None for one in performances):
        notes.append("the transparency stands still: how the portrait's own head moves is not known")
    held = int(performances[0].motion.held.sum())
    if held:
        notes.append(f"{name}: {held} of {len(driver.landmarks)} frames without a face hold a neighbour's")
    for note in notes:
        log(note)
    return Scene(subject, driver, performances, tuple(notes))


def _perform(
    actor: Actor,
    picture: Image.Image,
    driver: Driver,
    geometry: FaceGeometry,
    model: ModelDescription,
    sampling: SamplingConfig,
    request: AnimateRequest,
) -> Performance:
    how = (geometry, model, sampling.smoothing, request.transfer, driver.still)
    motion = motion_points(driver.landmarks, actor.reference, *how)
    landmarks = DrawnLandmarks(motion.points, model.size, model.size, model.landmark_variant)
    own = own_points(actor.reference, motion)
    return Performance(actor.cut, actor.cut.picture(picture, model.size), motion, landmarks, own)
