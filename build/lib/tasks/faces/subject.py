"""Who is animated: a portrait's face in its square (who drives: `tasks/faces/driver.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fye_model.animation.description import ModelDescription
from fye_model.animation.driving import reference_in_square
from fye_model.animation.portrait import choose_face, cut_square, whole_square
from fye_model.landmarks.boxes import Square
from fye_model.landmarks.table import LandmarkSequence
from tasks.faces.detector import DetectedFace, FaceLandmarker
from tasks.media.pictures import read_picture

MAX_PORTRAIT_SIDE = 1920  # pixels, of the picture that a result is pasted back into


@dataclass(frozen=True)
class Portrait:
    """picture: upright RGB; square: the part that is animated; reference: its face in that part, None without one;
    faces: how many the picture shows."""

    picture: Image.Image
    square: Square
    reference: LandmarkSequence | None
    faces: int


def read_portrait(path: Path, landmarker: FaceLandmarker, model: ModelDescription, face: str = "largest") -> Portrait:
    """Open a picture, find its faces, choose one and lay a square around it as around those of the training clips.

    Raises ValueError for what is no picture, and for a face that is not there.
    """
    picture = read_picture(path, MAX_PORTRAIT_SIDE)
    faces = landmarker.detect_all(np.asarray(picture))
    if not faces:
        if face != "largest":
            raise ValueError(f"{path}: face {face} was asked for, but no face was found in the portrait")
        return Portrait(picture, whole_square(*picture.size), None, 0)
    boxes = [item.box.in_pixels(*picture.size) for item in faces]
    try:
        chosen = choose_face(boxes, face)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    square = model.crop.portrait_square(boxes[chosen], *picture.size)
    found = _one_frame(faces[chosen], *picture.size, landmarker.model)
    reference = reference_in_square(found, square, model.size)
    cropped = landmarker.detect(np.asarray(cut_square(picture, square, model.size)))
    if cropped:  # looked at closely, the points are better, and there are blendshapes and pose
        centre = reference.points[0, :, :2].mean(axis=0)
        nearest = min(cropped, key=lambda item: float(np.hypot(*(item.points[:, :2].mean(axis=0) - centre))))
        reference = _one_frame(nearest, model.size, model.size, landmarker.model)
    return Portrait(picture, square, reference, len(faces))


def _one_frame(face: DetectedFace, width: int, height: int, model: str) -> LandmarkSequence:
    """A face in a width x height picture as a sequence of one frame."""
    one = np.ones(1, bool)
    return LandmarkSequence(
        points=face.points[None],
        matrix=None if face.matrix is None else face.matrix[None],
        blendshapes=None if face.blendshapes is None else face.blendshapes[None],
        valid=one,
        interpolated=~one,
        time_s=np.zeros(1),
        fps=1.0,
        width=width,
        height=height,
        model=model,
    )
