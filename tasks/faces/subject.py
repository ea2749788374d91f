"""Who is animated: a portrait's faces, each upright in its square (who drives: `tasks/faces/driver.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fye_model.animation.description import ModelDescription
from fye_model.animation.portrait import Cut, upright_rgb, whole_square
from fye_model.animation.turn import Turn
from fye_model.landmarks import topology
from fye_model.landmarks.boxes import PixelBox, pixel_boxes
from fye_model.landmarks.few_points import face_from_box, face_from_points
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence
from tasks.faces.choice import choose_faces
from tasks.faces.detector import DetectedFace, FaceLandmarker
from tasks.faces.search import SURE, UPRIGHT_DEG, FoundFace, find_faces, tilt_deg
from tasks.media.pictures import read_picture

MAX_PORTRAIT_SIDE = 1920  # pixels, of the picture that a result is pasted back into
_NEARLY_A_QUARTER_DEG = 6.0  # off a quarter turn: pictures that lie were turned by exactly that, and no pixel changes
_SAME_FACE = 0.15  # of the distance between the eyes, between two looks at one face


@dataclass(frozen=True)
class Actor:
    """A face that is animated. cut: its part of the picture; reference: the face in that part, None without one."""

    cut: Cut
    reference: LandmarkSequence | None


@dataclass(frozen=True)
class Portrait:
    """picture: upright RGB; actors: the faces that are animated, one as a rule; faces: how many were found; notes: what
    a user should know of it."""

    picture: Image.Image
    actors: tuple[Actor, ...]
    faces: int
    notes: tuple[str, ...]


def read_portrait(
    path: Path,
    landmarker: FaceLandmarker,
    model: ModelDescription,
    geometry: FaceGeometry,
    face: str = "largest",
    points: Sequence[tuple[float, float]] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Portrait:
    """Open a picture, find its faces, and lay a square around each wanted one as around those of the training clips.

    face: see `choose_faces`. points: five of a face, or box: around it, in pixels of the picture as it is shown, where
    the user says where the face is. Raises ValueError for what is no picture, for a face that is not there, and for
    points that make none.
    """
    return look_at_portrait(read_picture(path), path, landmarker, model, geometry, face, points, box)


def look_at_portrait(
    whole: Image.Image,
    path: Path,
    landmarker: FaceLandmarker,
    model: ModelDescription,
    geometry: FaceGeometry,
    face: str = "largest",
    points: Sequence[tuple[float, float]] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Portrait:
    """`read_portrait` of an opened picture, which messages call by `path`."""
    picture = upright_rgb(whole, MAX_PORTRAIT_SIDE)
    if points is not None or box is not None:
        given = _given(whole, points, box, geometry) * (picture.width / whole.width)
        actor = _actor(picture, given, model, landmarker.model)
        return Portrait(picture, (actor,), 0, (f"{path.name}: the face is taken to be where it was pointed at",))
    found = find_faces(landmarker, picture)
    if not found:
        if face != "largest":
            raise ValueError(f"{path}: face {face} was asked for, but no face was found in the portrait")
        cut = Cut(Turn(*picture.size), whole_square(*picture.size))
        return Portrait(picture, (Actor(cut, None),), 0, (_not_found(path),))
    try:
        chosen = choose_faces(face, np.asarray(picture), found, landmarker)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    actors = tuple(
        _close(_actor(picture, found[one].points_px, model, landmarker.model), picture, landmarker) for one in chosen
    )
    notes = [f"{path.name}: {len(found)} faces found, using {face}"] if len(found) > 1 else []
    notes += [_unsure(path, found[one]) for one in chosen if not found[one].sure]
    notes += [_turned(path, actor.cut.turn) for actor in actors if actor.cut.turn.deg]
    return Portrait(picture, actors, len(found), tuple(notes))


def _given(
    picture: Image.Image,
    points: Sequence[tuple[float, float]] | None,
    box: tuple[float, float, float, float] | None,
    geometry: FaceGeometry,
) -> np.ndarray:
    """The face that a user points at, (478, 3) pixels of the picture."""
    if points is not None:
        face = face_from_points(np.array(points), geometry)
    else:
        assert box is not None
        face = face_from_box(PixelBox(*box), geometry)
    centre = face[:, :2].mean(axis=0)
    if not (0 <= centre[0] <= picture.width and 0 <= centre[1] <= picture.height):
        raise ValueError(
            f"the face was pointed at outside the picture, around {centre[0]:.0f},{centre[1]:.0f}; expected pixels of "
            f"the picture as it is shown, {picture.width}x{picture.height}"
        )
    return face


def _actor(picture: Image.Image, points_px: np.ndarray, model: ModelDescription, landmark_model: str) -> Actor:
    """A face (478, 3) in pixels of the picture, in its square, upright."""
    turn = Turn(picture.width, picture.height, turn_deg(tilt_deg(points_px)))
    upright = turn.there(points_px[:, :2])
    square = model.crop.portrait_square(pixel_boxes(upright[None])[0], *turn.size)
    inside = np.column_stack([square.to_square(upright, model.size) / model.size, points_px[:, 2] / square.side])
    face = DetectedFace(inside.astype(np.float32), None)
    return Actor(Cut(turn, square), _one_frame(face, model.size, model.size, landmark_model))


def turn_deg(tilt: float) -> float:
    """By how much a picture is turned so that a face with this tilt stands upright: not at all for a usual tilt."""
    if abs(tilt) <= UPRIGHT_DEG:
        return 0.0
    quarter = round(tilt / 90) * 90
    return float(-(quarter if abs(tilt - quarter) <= _NEARLY_A_QUARTER_DEG else tilt))


def _close(actor: Actor, picture: Image.Image, landmarker: FaceLandmarker) -> Actor:
    """The face as the landmark model sees it in the square itself, where it sees the same one: training's did, too."""
    assert actor.reference is not None
    reference = actor.reference
    size = reference.width
    known = reference.points[0, :, :2].astype(np.float64)
    for face in landmarker.detect(np.asarray(actor.cut.picture(picture, size))):
        apart = np.linalg.norm(face.points[:, :2] - known, axis=1)[list(topology.EXPRESSION_POINTS)].mean()
        if apart < _SAME_FACE * topology.interocular_distance(known):
            return Actor(actor.cut, _one_frame(face, size, size, landmarker.model))
    return actor


def _not_found(path: Path) -> str:
    return (
        f"{path.name}: no face found, also with the picture turned, shrunk and cut; the driver's landmarks are drawn "
        "as they are, without alignment. Say where the face is: --points or --box"
    )


def _unsure(path: Path, face: FoundFace) -> str:
    return (
        f"{path.name}: a face was found, but not surely: several looks at it differ by {face.spread:.1%} of the "
        f"distance between the eyes, at people's by less than {SURE:.1%}. Where eyes and mouth are drawn wrongly, give "
        "--points"
    )


def _turned(path: Path, turn: Turn) -> str:
    return (
        f"{path.name}: the face is turned by {abs(turn.deg):.0f}° to stand upright; --paste-back puts it back as it lay"
    )


def _one_frame(face: DetectedFace, width: int, height: int, model: str) -> LandmarkSequence:
    """A face in a width x height picture as a sequence of one frame."""
    one = np.ones(1, bool)
    return LandmarkSequence(
        points=face.points[None],
        matrix=None,
        blendshapes=None if face.blendshapes is None else face.blendshapes[None],
        valid=one,
        interpolated=~one,
        time_s=np.zeros(1),
        fps=1.0,
        width=width,
        height=height,
        model=model,
    )
