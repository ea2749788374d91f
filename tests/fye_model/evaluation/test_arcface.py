"""ArcFace: the face is laid where the network wants it, and the cosine is of result and truth, or of the portrait."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from fye_model.evaluation import arcface, weights
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.faces import FaceTrack
from fye_model.evaluation.graphs import iresnet
from fye_model.evaluation.scores import score
from fye_model.evaluation.table import BY_NAME
from tests.fye_model.evaluation.graphs.published import drawn, iresnet_shapes
from tests.fye_model.evaluation.moving_face import face, track
from tests.fye_model.evaluation.weighed import counted, give

SIZE = 200
ARCFACE = BY_NAME["arcface"]
CROSS = next(metric for metric in CROSS_METRICS if metric.name == "arcface")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arcface") / "backbone.pth"
    torch.save(drawn(iresnet_shapes(iresnet.BLOCKS[50]), scale=0.7), path)
    return path


@pytest.fixture
def model(backbone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same weights in the other published form: what an ONNX file adds is tested with the graph."""
    asset = weights._ASSETS["arcface"]
    monkeypatch.setitem(weights._ASSETS, "arcface", replace(asset, place="buffalo_l/backbone.pth"))
    give(monkeypatch, tmp_path / "assets", {"arcface": backbone})


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, FaceTrack]:
    frames = np.stack([data.astronaut()[i : i + SIZE, 130 : 130 + SIZE] for i in (0, 40)])
    return frames, track([face(), face(yaw_deg=5)], SIZE)


def test_the_five_places_of_a_face_come_to_lie_where_insightface_has_them() -> None:
    """Marked points of an upright face land on their places, also when the picture is turned and small."""
    points = face()[:, :2] * SIZE
    for turn_deg, scale in ((0, 1.0), (25, 0.7)):
        angle = np.radians(turn_deg)
        rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = (points - SIZE / 2) @ rotation.T + SIZE / 2
        picture = np.zeros((SIZE, SIZE, 3), np.uint8)
        eye = moved[[33, 133]].mean(axis=0) - 0.5
        y, x = np.mgrid[:SIZE, :SIZE]
        picture[np.hypot(x - eye[0], y - eye[1]) < 4] = 255
        square = arcface.face_square(picture, moved)[..., 0].astype(float)
        rows, columns = np.mgrid[:112, :112]
        found = np.array([(columns * square).sum(), (rows * square).sum()]) / square.sum()
        assert np.abs(found - arcface._PLACES[0]).max() < 3, "a mean face fits the five places to three pixels"
        assert square.shape == (112, 112)


def test_a_copy_is_one_person_and_a_face_that_is_lost_is_a_stranger(
    model: None, clip: tuple[np.ndarray, FaceTrack]
) -> None:
    frames, faces = clip
    truth = Truth(frames, faces)
    assert score(Comparison(truth, frames, faces), [ARCFACE]).value(ARCFACE) == pytest.approx(1)
    other = score(Comparison(truth, 255 - frames, faces), [ARCFACE]).value(ARCFACE)
    assert other < 0.999
    lost = track([None, face(yaw_deg=5)], SIZE)
    assert score(Comparison(truth, frames, lost), [ARCFACE]).value(ARCFACE) == pytest.approx(0.5)


def test_a_face_that_was_seen_before_is_not_looked_at_again(model: None, clip: tuple[np.ndarray, FaceTrack]) -> None:
    """Two faces of the truth and two of a result; then the repeated reference, whose one face is the truth's first."""
    frames, faces = clip[0][:, ::-1], clip[1]
    truth = Truth(frames, faces)
    with counted(arcface._network(weights.weight_file("arcface"))) as runs:
        score(Comparison(truth, 255 - frames, faces), [ARCFACE])
        assert len(runs) == 4
        score(Comparison(truth, np.repeat(frames[:1], 2, axis=0), track([face()] * 2, SIZE)), [ARCFACE])
        assert len(runs) == 4


def test_a_cross_pair_is_held_against_its_portrait(model: None, clip: tuple[np.ndarray, FaceTrack]) -> None:
    frames, faces = clip
    portrait = frames[0]
    performed = Comparison(
        Truth(255 - frames, faces), np.stack([portrait] * 2), faces.repeated(2), portrait, track([face()], SIZE)
    )
    assert score(performed, [CROSS]).value(CROSS) == pytest.approx(1)
    unseen = Comparison(performed.truth, performed.result, performed.faces, portrait, track([None], SIZE))
    assert np.isnan(score(unseen, [CROSS]).value(CROSS)) and "no face in the portrait" in CROSS.reason


def test_without_weights_it_is_missing(
    clip: tuple[np.ndarray, FaceTrack], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FYE_ASSETS", str(tmp_path))
    monkeypatch.setenv("FYE_CACHE", str(tmp_path))
    frames, faces = clip
    scores = score(Comparison(Truth(frames, faces), frames, faces), [ARCFACE, BY_NAME["arcface_r100"]])
    assert np.isnan(scores.value(ARCFACE)) and ARCFACE.reason.startswith("needs the weights buffalo_l/w600k_r50.onnx")
    assert "antelopev2/glintr100.onnx" in BY_NAME["arcface_r100"].reason
