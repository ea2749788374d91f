"""BRISQUE sees blur and noise, agrees with the package whose model it uses, and says how to get it where it lacks."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from fye_model.evaluation import quality
from fye_model.evaluation.compare import Comparison, Truth
from tests.fye_model.evaluation.moving_face import face, track

needs_the_model = pytest.mark.skipif(quality.lacks() is not None, reason=str(quality.lacks()))


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return Image.fromarray(data.astronaut()).resize((256, 256), Image.Resampling.BOX)


def _blurred(picture: Image.Image, radius: float) -> np.ndarray:
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)))


@needs_the_model
def test_the_more_blur_the_higher(photograph: Image.Image) -> None:
    scores = [quality.brisque(_blurred(photograph, radius)) for radius in (0, 1, 2, 4)]
    assert scores == pytest.approx([20.4, 38.2, 65.3, 81.8], abs=0.5)


@needs_the_model
def test_noise_raises_it(photograph: Image.Image) -> None:
    noise = np.random.default_rng(0).normal(0, 20, (256, 256, 3))
    noisy = np.clip(np.asarray(photograph) + noise, 0, 255).astype(np.uint8)
    assert quality.brisque(noisy) > quality.brisque(np.asarray(photograph)) + 10


@needs_the_model
def test_it_is_what_the_package_says_once_its_numbers_are_numbers(photograph: Image.Image) -> None:
    package = pytest.importorskip("brisque", exc_type=ImportError)

    class Repaired(package.BRISQUE):  # type: ignore[name-defined,misc]
        def scale_features(self, features: np.ndarray) -> np.ndarray:
            return super().scale_features([np.ravel(feature)[0] for feature in features])

    theirs = Repaired()
    for radius in (0, 2):
        picture = _blurred(photograph, radius)
        assert quality.brisque(picture) == pytest.approx(theirs.score(picture), abs=0.02)


@needs_the_model
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_without_any_detail_is_a_ruined_one(grey: int) -> None:
    assert quality.brisque(np.full((64, 64, 3), grey, np.uint8)) == quality.NO_DETAIL


def test_pictures_too_small_or_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 11 pixels a side, got 8x10"):
        quality.brisque(np.zeros((10, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8, got"):
        quality.brisque(np.zeros((64, 64, 3)))


def test_without_the_package_every_frame_is_missing_and_the_reason_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "brisque", None)
    faces = track([face(), face()])
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    assert np.isnan(quality.brisque_frames(Comparison(Truth(frames, faces), frames, faces))).all()
    assert quality.lacks() == "needs brisque: pip install '.[metrics]'"
