"""Faces for `FollowYourEmojiPipeline.animate`: this project's landmark model behind the library's `Faces`.

from fye_model import FollowYourEmojiPipeline
from tasks.faces.reader import open_faces

pipeline = FollowYourEmojiPipeline.from_pretrained("work/demo/model")
with open_faces() as faces:
    frames = pipeline.animate("portrait.jpg", "driving.mp4", faces).frames
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from fye_model.animation.description import ModelDescription
from fye_model.animation.performing import DriverLike, PortraitLike, SeenDriver, SeenPortrait
from fye_model.animation.portrait import upright_rgb
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence, sequences_same_model
from tasks.faces.detector import FaceLandmarker
from tasks.faces.driver import read_driver
from tasks.faces.follow import FaceTracker, build_sequence, load_geometry
from tasks.faces.landmarker import LandmarkerAsset, resolve_landmarker
from tasks.faces.subject import look_at_portrait
from tasks.media.pictures import read_picture

_MOST_FACES = 8


class FaceReader:
    """Finds the faces of portraits and drivers; see `fye_model.animation.performing.Faces`."""

    def __init__(self, landmarker: FaceLandmarker, asset: LandmarkerAsset) -> None:
        self._landmarker, self._asset = landmarker, asset
        self._geometry = load_geometry(asset)

    @property
    def geometry(self) -> FaceGeometry:
        """The canonical face that goes with the landmark model."""
        return self._geometry

    def see_portrait(self, portrait: PortraitLike, model: ModelDescription, face: str) -> SeenPortrait:
        """Find the face of a portrait: a path, PIL picture or array (h, w, 3) uint8. Raises ValueError."""
        if isinstance(portrait, str | Path):
            picture, name = read_picture(Path(portrait)), Path(portrait)
        else:
            image = Image.fromarray(portrait) if isinstance(portrait, np.ndarray) else portrait
            picture, name = upright_rgb(image), Path("portrait")
        seen = look_at_portrait(picture, name, self._landmarker, model, self._geometry, face)
        if len(seen.actors) > 1:
            raise ValueError(f"face {face}: {len(seen.actors)} faces; animate one at a time")
        (actor,) = seen.actors
        return SeenPortrait(seen.picture, actor.cut, actor.reference, seen.notes)

    def see_driver(self, driving: DriverLike, model: ModelDescription, fps: float) -> SeenDriver:
        """Follow the face of a driver: a path, landmarks, an array (f, h, w, 3) uint8 or a list of PIL pictures.

        Raises ValueError.
        """
        if isinstance(driving, LandmarkSequence):
            sequences_same_model([driving.model, self._asset.model])
            return SeenDriver(driving)
        if isinstance(driving, str | Path):
            how = (self._asset, model.max_gap_frames, fps)
            driver = read_driver(Path(driving), self._landmarker, *how)
            return SeenDriver(driver.landmarks, driver.still, driver.notes)
        frames = [np.asarray(frame.convert("RGB") if isinstance(frame, Image.Image) else frame) for frame in driving]
        if not frames:
            raise ValueError("the driver is empty: 0 frames")
        tracker = FaceTracker(self._landmarker, model.max_gap_frames)
        faces = tracker.follow(frames)
        height, width = frames[0].shape[:2]
        times = np.arange(len(frames)) / fps
        named = (self._asset.model, self._geometry, model.max_gap_frames)
        return SeenDriver(build_sequence(faces, times, fps, width, height, *named))


@contextmanager
def open_faces(assets: Path | None = None) -> Iterator[FaceReader]:
    """This project's landmark model, opened: what finds faces for `FollowYourEmojiPipeline.animate`.

    assets: folder with `face_landmarker.task`; else as FYE_ASSETS says, the cache, or its public address. Raises
    `AssetError` where there is none.
    """
    asset = resolve_landmarker(assets)
    with FaceLandmarker(asset.path, asset.model, max_faces=_MOST_FACES) as landmarker:
        yield FaceReader(landmarker, asset)
