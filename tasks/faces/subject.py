"""Who is animated and who drives: a portrait's face in its square, and a driver's landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from fye_model.animation.description import ModelDescription
from fye_model.animation.driving import reference_in_square
from fye_model.animation.portrait import choose_face, cut_square, upright_rgb, whole_square
from fye_model.landmarks.boxes import Square
from fye_model.landmarks.table import LandmarkSequence, read_landmarks
from tasks.engine.items import Quarantine
from tasks.faces.detector import DetectedFace, FaceLandmarker
from tasks.faces.follow import FaceTracker, build_sequence, load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.media.read import iter_frames, probe

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
    try:
        with Image.open(path) as image:
            picture = upright_rgb(image, MAX_PORTRAIT_SIDE)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise no_picture(path, error) from error
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


def no_picture(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: not a readable picture ({error}); give a PNG, JPEG or WebP file")


def read_driver(
    path: Path, landmarker: FaceLandmarker, asset: LandmarkerAsset, max_gap_frames: int
) -> LandmarkSequence:
    """Landmarks of every frame of a video, gaps up to `max_gap_frames` filled, or a stored table.

    Raises ValueError for an empty or unreadable driver, and for landmarks of another model than `asset`'s.
    """
    if path.suffix.lower() == ".parquet":
        sequence = read_landmarks(path)
        if sequence.model != asset.model:
            raise ValueError(
                f"{path}: landmarks of {sequence.model}, but the portrait's would be of {asset.model}; points of two "
                "models never mix: detect the driver again, or use the landmark model that it was detected with"
            )
        return sequence
    try:
        info = probe(path)
        tracker = FaceTracker(landmarker, max_gap_frames)
        faces: list[DetectedFace | None] = []
        width, height = info.width, info.height
        for rgb in iter_frames(path):
            height, width = rgb.shape[:2]
            faces.append(tracker.next(rgb))
    except Quarantine as error:
        raise ValueError(f"{error.message} (the driving video)") from error
    except OSError as error:
        raise ValueError(f"{path}: the driving video cannot be read: {error}") from error
    if not faces:
        raise ValueError(f"{path}: the driving video is empty: no frame could be decoded")
    if not any(faces):
        raise ValueError(f"{path}: none of {len(faces)} frames of the driving video shows a face")
    times = np.arange(len(faces)) / info.fps
    return build_sequence(faces, times, info.fps, width, height, asset.model, load_geometry(asset), max_gap_frames)


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
