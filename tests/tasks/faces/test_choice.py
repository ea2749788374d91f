"""A person is found by a picture, also a mirrored one; a stranger is not taken for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from fye_model.evaluation import identity
from tasks.faces.choice import FirstOfDriver, choose_faces
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.search import find_faces

needs_the_network = pytest.mark.skipif(identity.lacks() is not None, reason=str(identity.lacks()))
PEOPLE = ("speaker1.png", "s12.jpg", "speaker4.png")


@pytest.fixture(scope="module")
def landmarker(landmarker_asset: LandmarkerAsset) -> Iterator[FaceLandmarker]:
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model, max_faces=4) as opened:
        yield opened


def _portrait(shared: Path, name: str) -> Image.Image:
    return Image.open(shared / "data" / "portraits" / name).convert("RGB")


def _row(shared: Path) -> Image.Image:
    row = Image.new("RGB", (1500, 500), "white")
    for index, name in enumerate(PEOPLE):
        row.paste(ImageOps.fit(_portrait(shared, name), (500, 500)), (500 * index, 0))
    return row


@needs_the_network
def test_the_person_of_a_picture_is_found_among_others(
    shared: Path, landmarker: FaceLandmarker, tmp_path: Path
) -> None:
    row = _row(shared)
    faces = find_faces(landmarker, row)
    for place, name in enumerate(PEOPLE):
        ImageOps.mirror(_portrait(shared, name)).rotate(8).save(tmp_path / "person.png")
        (found,) = choose_faces(str(tmp_path / "person.png"), np.asarray(row), faces, landmarker)
        assert faces[found].box.centre[0] // 500 == place, name
    with pytest.raises(ValueError, match="is none of the 3 faces found"):
        choose_faces(str(shared / "data" / "portraits" / "s7.jpg"), np.asarray(row), faces, landmarker)


@needs_the_network
def test_the_person_of_a_picture_drives(shared: Path, landmarker: FaceLandmarker) -> None:
    frame = np.asarray(_row(shared))
    chosen = FirstOfDriver(str(shared / "data" / "portraits" / "speaker4.png"), landmarker)(
        landmarker.detect(frame), frame
    )
    assert chosen is not None and chosen.box.in_pixels(1500, 500).centre[0] > 1000


def test_without_the_network_it_is_said_how_to_get_it(shared: Path, landmarker: FaceLandmarker) -> None:
    person = str(shared / "data" / "portraits" / "speaker4.png")
    if identity.lacks() is None:
        assert FirstOfDriver(person, landmarker).most == 0
        return
    with pytest.raises(ValueError, match=r"needs dlib-bin .*pip install '\.\[metrics\]'; or give the face's number"):
        FirstOfDriver(person, landmarker)
