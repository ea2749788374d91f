"""From a portrait and a driver to frames, without drawing landmarks by hand: `FollowYourEmojiPipeline.animate`.

Finding faces needs a landmark model, which the library does not import. Whoever has one hands in a `Faces`; this
project's own is `tasks.faces.reader.open_faces`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from fye_model.animation.arguments import sampling_arguments
from fye_model.animation.description import DESCRIPTION, ModelDescription
from fye_model.animation.driving import USUAL_FPS, motion_points, own_points
from fye_model.animation.inputs import DrawnLandmarks
from fye_model.animation.output import FollowYourEmojiOutput
from fye_model.animation.paste_back import PasteBack
from fye_model.animation.portrait import Cut
from fye_model.animation.transfer import Transfer
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence

logger = logging.getLogger(__name__)
PortraitLike = str | Path | Image.Image | np.ndarray
DriverLike = str | Path | LandmarkSequence | np.ndarray | Sequence[Image.Image]


@dataclass(frozen=True)
class SeenPortrait:
    """A portrait whose face was looked for. picture: upright RGB; cut: the part that is animated; reference: the face
    in that part, one frame of the model's size, None where none was found; notes: what a user should know."""

    picture: Image.Image
    cut: Cut
    reference: LandmarkSequence | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SeenDriver:
    """A driver whose face was followed. landmarks: of every frame; still: it is one picture, shown again and again;
    notes: what a user should know."""

    landmarks: LandmarkSequence
    still: bool = False
    notes: tuple[str, ...] = ()


class Faces(Protocol):
    """Whoever finds faces, and the canonical face of the landmark model that they are found with."""

    @property
    def geometry(self) -> FaceGeometry: ...

    def see_portrait(self, portrait: PortraitLike, model: ModelDescription, face: str) -> SeenPortrait:
        """Find the face of a portrait and cut it out as the model's training clips were."""
        ...

    def see_driver(self, driving: DriverLike, model: ModelDescription, fps: float) -> SeenDriver:
        """Follow the face of a driver; fps: of frames that bring no rate."""
        ...


@dataclass(frozen=True)
class Part:
    """What the pipeline is called with, and what is needed to put its frames back. own: (478, 2) the portrait's face in
    the square, where the motion was laid onto it; fps: of the frames; notes: what a user should know."""

    portrait: SeenPortrait
    reference: Image.Image
    landmarks: DrawnLandmarks
    own: np.ndarray | None
    fps: float
    notes: tuple[str, ...]


def set_part(
    portrait: PortraitLike,
    driving: DriverLike,
    faces: Faces,
    model: ModelDescription,
    transfer: Transfer | None,
    face: str,
    fps: float | None,
) -> Part:
    """Find both faces and lay the driver's motion onto the portrait's. Raises ValueError as `motion_points` does."""
    seen = faces.see_portrait(portrait, model, face)
    driver = faces.see_driver(driving, model, fps or model.fps or USUAL_FPS)
    how = (faces.geometry, model, model.sampling.smoothing, transfer, driver.still)
    motion = motion_points(driver.landmarks, seen.reference, *how)
    landmarks = DrawnLandmarks(motion.points, model.size, model.size, model.landmark_variant)
    for line in model.cautions(driver.landmarks.model):
        logger.warning(line)
    notes = (*seen.notes, *driver.notes, *motion.notes)
    own = own_points(seen.reference, motion)
    return Part(seen, seen.cut.picture(seen.picture, model.size), landmarks, own, driver.landmarks.fps, notes)


def put_back(part: Part, frames: Sequence[Image.Image]) -> list[Image.Image]:
    """The animated squares in the whole picture, turned as the face lay."""
    picture = np.asarray(part.portrait.picture)
    put = PasteBack(part.portrait.cut, part.reference, part.own, part.landmarks.points_px, part.fps)
    return [Image.fromarray(put(picture, np.asarray(frame), index)) for index, frame in enumerate(frames)]


class PerformingMixin:
    """What the pipeline has of this: `animate`."""

    description: ModelDescription | None

    def animate(
        self,
        portrait: PortraitLike,
        driving: DriverLike,
        faces: Faces,
        *,
        transfer: Transfer | None = Transfer(),  # noqa: B008  # it is immutable
        face: str = "largest",
        fps: float | None = None,
        seed: int | None = None,
        paste_back: bool = False,
        **settings: Any,
    ) -> FollowYourEmojiOutput:
        """A portrait performs a driver: faces are found, the motion is carried over, and the frames are drawn.

        - portrait: a path, PIL picture or array (h, w, 3); driving: a path, landmarks, an array (f, h, w, 3) or a list
          of PIL pictures, these at `fps` (the model's if not given).
        - faces: who finds them, such as `tasks.faces.reader.open_faces()`; face: which of several in the portrait.
        - transfer: what of the driver is taken over; None does as the public release.
        - paste_back: frames are the whole picture. Other settings are those of calling the pipeline; what is not given
          is as the model was evaluated.

        Returns all frames; what a user should know of faces and motion is logged, and of the model as a warning. Raises
        `ValueError` for a pipeline without a description, and for what the parts refuse.
        """
        if self.description is None:
            raise ValueError(
                f"this pipeline has no {DESCRIPTION}, which says how faces are cut: load a whole model folder"
            )
        part = set_part(portrait, driving, faces, self.description, transfer, face, fps)
        for note in part.notes:
            logger.info(note)
        sampling = self.description.sampling
        if seed is not None:
            sampling = sampling.model_copy(update={"seed": seed})
        output: FollowYourEmojiOutput = self(  # type: ignore[operator]  # the pipeline's own call
            part.reference, part.landmarks, **{**sampling_arguments(sampling), **settings}
        )
        return FollowYourEmojiOutput(frames=put_back(part, output.frames)) if paste_back else output
