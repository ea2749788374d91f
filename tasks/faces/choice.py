"""Which of several faces is meant: by size, by place, by number, or by a picture of the person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fye_model.evaluation import identity
from fye_model.landmarks.boxes import PixelBox
from tasks.faces.detector import DetectedFace, FaceLandmarker
from tasks.faces.search import FoundFace, find_faces
from tasks.media.pictures import read_picture

WORDS = "largest, left, centre, right, all, numbers from the left (0,2), or a picture of the person"
_SIDE = 1024  # pixels of the person's picture that are looked at
_LOOK_CLOSELY_EVERY = 10  # frames


class Person:
    """Somebody known by a picture: the largest face in it. Needs `pip install '.[metrics]'`, which knows people."""

    def __init__(self, path: Path, landmarker: FaceLandmarker) -> None:
        if (lack := identity.lacks()) is not None:
            raise ValueError(f"face {path}: finding a person by a picture {lack}; or give the face's number")
        picture = read_picture(path, _SIDE)
        faces = find_faces(landmarker, picture)
        if not faces:
            raise ValueError(f"{path}: no face found in the picture of the person; give another picture")
        self.path = path
        self._numbers = identity.embed_face(np.asarray(picture), faces[0].points_px)

    def distance(self, picture: np.ndarray, points_px: np.ndarray) -> float:
        """How far a face (478, 2 or 3) in pixels of a picture (h, w, 3) uint8 is from the person's."""
        return float(np.linalg.norm(identity.embed_face(picture, points_px) - self._numbers))

    def find(self, picture: np.ndarray, faces: Sequence[np.ndarray]) -> tuple[int | None, float]:
        """Which of the faces, each (478, 2 or 3) in pixels, is the person; None where nobody is; and the distance."""
        distances = [self.distance(picture, points) for points in faces]
        nearest = int(np.argmin(distances))
        return (nearest if distances[nearest] < identity.SAME_PERSON else None), distances[nearest]


class FirstOfDriver:
    """Chooses the face that drives, in the first frame that shows it (`FaceTracker`'s `first`).

    Frames are now and then looked at in parts, which finds small faces. `most`: faces seen in one frame.
    """

    def __init__(self, wanted: str, landmarker: FaceLandmarker) -> None:
        self.most = 0
        self._wanted, self._landmarker = wanted, landmarker
        self._person = Person(Path(wanted), landmarker) if is_person(wanted) else None
        self._looks = 0
        if wanted == "all" or "," in wanted:
            raise ValueError(f"driver face {wanted}: one face drives; give one number, or largest, left, centre, right")
        if self._person is None:
            choose_by_place("0" if wanted.isdecimal() else wanted, [PixelBox(0, 0, 1, 1)], 1)

    def __call__(self, faces: list[DetectedFace], rgb: np.ndarray) -> DetectedFace | None:
        """The wanted one of a frame's faces, None where it is not there."""
        if self._looks % _LOOK_CLOSELY_EVERY == 0 and (not faces or self._wanted != "largest"):
            faces = self._landmarker.detect_all(rgb)  # a first look misses small faces beside large ones
        self._looks += 1
        self.most = max(self.most, len(faces))
        if not faces:
            return None
        height, width = rgb.shape[:2]
        if self._person is not None:
            index, _ = self._person.find(rgb, [face.points[:, :2] * (width, height) for face in faces])
            return None if index is None else faces[index]
        if self._wanted.isdecimal() and int(self._wanted) >= len(faces):
            return None
        return faces[choose_by_place(self._wanted, [face.box.in_pixels(width, height) for face in faces], width)[0]]


def choose_faces(wanted: str, picture: np.ndarray, faces: Sequence[FoundFace], landmarker: FaceLandmarker) -> list[int]:
    """Indices of the wanted faces, in the order in which they were asked for.

    wanted: see `WORDS`. Raises ValueError for a face that is not there, and for other words.
    """
    if is_person(wanted):
        found, distance = Person(Path(wanted), landmarker).find(picture, [face.points_px for face in faces])
        if found is None:
            raise ValueError(
                f"the person of {wanted} is none of the {len(faces)} faces found (the nearest is {distance:.2f} away, "
                f"one person's faces are within {identity.SAME_PERSON}); give the face's number"
            )
        return [found]
    return choose_by_place(wanted, [face.box for face in faces], picture.shape[1])


def is_person(wanted: str) -> bool:
    """Whether a face is asked for by a picture: by a name with an ending, or by one that is there."""
    return Path(wanted).is_file() or Path(wanted).suffix != ""


def choose_by_place(wanted: str, boxes: Sequence[PixelBox], width: int) -> list[int]:
    """Indices of boxes in a picture `width` pixels wide, by `largest`, place, number from the left, or `all`."""
    order = sorted(range(len(boxes)), key=lambda index: boxes[index].centre[0])
    words = {
        "largest": [max(range(len(boxes)), key=lambda index: boxes[index].area)],
        "left": order[:1],
        "right": order[-1:],
        "centre": [min(range(len(boxes)), key=lambda index: abs(boxes[index].centre[0] - width / 2))],
        "all": order,
    }
    if wanted in words:
        return words[wanted]
    try:
        numbers = [int(part) for part in wanted.split(",")]
    except ValueError:
        raise ValueError(f"face is {wanted!r}: expected {WORDS}") from None
    for number in numbers:
        if not 0 <= number < len(boxes):
            known = "0" if len(boxes) == 1 else f"0 (the leftmost) to {len(boxes) - 1}"
            raise ValueError(f"face {number} was asked for, but {_faces(len(boxes))} found; give {known}, or 'largest'")
    return [order[number] for number in dict.fromkeys(numbers)]


def _faces(count: int) -> str:
    return "1 face was" if count == 1 else f"{count} faces were"
