"""Portraits put into known motion: sample clips of as many people as there are pictures, for `fye samples`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fye_model.landmarks import topology
from fye_model.landmarks.geometry import FaceGeometry, euler_deg
from tasks.faces.detector import FaceLandmarker
from tasks.faces.follow import load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.search import UPRIGHT_DEG, find_faces
from tasks.media.opening import printable
from tasks.media.pictures import NoPictureError, read_picture
from tasks.samples.clips import SampleSettings, write_person
from tasks.samples.figure import GRID, Figure, figure_of
from tasks.samples.puppet import Puppet, eyes_apart_px

MAX_YAW_DEG, MAX_PITCH_DEG = 25.0, 30.0  # beyond, the picture lacks what a turn of the head would show
_MOST_ENLARGED = 2.0
_MOST_FACES = 8


@dataclass(frozen=True)
class Performance:
    """What became of one picture: the clips of its person, with what a user should know, or why there are none."""

    picture: Path
    clips: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = None


def perform(
    pictures: Sequence[Path], output: Path, settings: SampleSettings, asset: LandmarkerAsset
) -> Iterator[Performance]:
    """Put each picture's largest face into motion: clips and their motion in `output`/PERSON, one after another.

    A picture that cannot perform costs itself alone. A person is called as the file, and two that are called alike
    after their whole names. Raises ValueError for settings that make no clip.
    """
    geometry = load_geometry(asset)
    with FaceLandmarker(asset.path, asset.model, max_faces=_MOST_FACES) as landmarker:
        for picture, person in _people(pictures):
            try:
                figure, notes = _figure_in(read_picture(picture), landmarker, geometry, settings.size)
            except NoPictureError as error:
                yield Performance(picture, problem=str(error))
            except UnfitError as error:
                yield Performance(picture, problem=f"{printable(picture)}: {error}")
            else:
                clips = write_person(output / person, person, Puppet(figure), settings)
                yield Performance(picture, tuple(clips), tuple(f"{printable(picture)}: {note}" for note in notes))


def find_pictures(places: Sequence[Path]) -> list[Path]:
    """The files at `places` and, by name, those in the folders among them; hidden ones are passed over.

    Raises ValueError for a place that is not there and a folder with nothing in it.
    """
    pictures: list[Path] = []
    for place in places:
        if not place.exists():
            raise ValueError(f"{printable(place)}: no such file or folder; give portraits, or folders of them")
        inside = sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else [place]
        visible = [path for path in inside if not path.name.startswith(".")]
        if not visible:
            raise ValueError(f"{printable(place)}: a folder without files; give one with portraits")
        pictures += visible
    return pictures


class UnfitError(ValueError):
    """No face of the picture can perform."""


def _people(pictures: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    stems = [picture.stem for picture in pictures]
    for picture in pictures:
        yield picture, picture.stem if stems.count(picture.stem) == 1 else picture.name.replace(".", "-")


def _figure_in(
    image: Image.Image, landmarker: FaceLandmarker, geometry: FaceGeometry, size: int
) -> tuple[Figure, list[str]]:
    """The picture's largest face, ready to move, and what to say of it. Raises `UnfitError`."""
    found = find_faces(landmarker, image)
    if not found:
        raise UnfitError("no face was found, also with the picture turned, shrunk and cut; give one that shows a face")
    face = found[0]
    if not face.sure:
        raise UnfitError("what looks like a face is none surely (an animal, a drawing?); give a picture of a person")
    eyes, wanted = float(topology.interocular_distance(face.points_px[:, :2])), eyes_apart_px(size) / _MOST_ENLARGED
    if eyes < wanted:
        raise UnfitError(
            f"the face is too small: the outer corners of its eyes are {eyes:.0f} pixels apart, and clips of {size} "
            f"pixels need {wanted:.0f}; give a larger picture, or a smaller --size"
        )
    figure = figure_of(image, face.points_px)
    sheet = figure.depth.shape[0] * GRID
    _, matrix = geometry.estimate((figure.points / sheet)[None], sheet, sheet)
    pitch, yaw, _ = euler_deg(matrix)[0]
    if abs(yaw) > MAX_YAW_DEG or abs(pitch) > MAX_PITCH_DEG:
        raise UnfitError(
            f"the face is turned away (yaw {yaw:.0f}°, pitch {pitch:.0f}°); give one that looks into the camera, "
            f"within {MAX_YAW_DEG:.0f}° and {MAX_PITCH_DEG:.0f}°"
        )
    notes = [f"{len(found)} faces found, using the largest"] if len(found) > 1 else []
    if abs(face.tilt_deg) > UPRIGHT_DEG:
        notes.append(f"the face lies, and is turned by {abs(face.tilt_deg):.0f}° to stand upright")
    return figure, notes
