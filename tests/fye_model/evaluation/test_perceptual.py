"""LPIPS, tLP and HyperIQA of a comparison, by weights of the published form: what each sees and what it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage import data

from fye_model.evaluation import identity, perceptual
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.cross import CROSS_METRICS
from fye_model.evaluation.perceptual import hyperiqa_frames
from fye_model.evaluation.scores import score
from fye_model.evaluation.table import BY_NAME
from fye_model.evaluation.weights import weight_file
from tests.fye_model.evaluation.graphs.published import drawn, hyperiqa_shapes, lpips_files
from tests.fye_model.evaluation.moving_face import face, track
from tests.fye_model.evaluation.weighed import counted, give

FRAMES = 5
NAMES = ("lpips", "tlp")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    backbone, linear = lpips_files(folder)
    torch.save(drawn(hyperiqa_shapes(), scale=0.9), folder / "koniq_pretrained.pkl")
    return {"lpips_alexnet": backbone, "lpips_alexnet_linear": linear, "hyperiqa": folder / "koniq_pretrained.pkl"}


@pytest.fixture(autouse=True)
def weights(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give(monkeypatch, tmp_path / "assets", files)


@pytest.fixture(scope="module")
def truth() -> Truth:
    """A photograph that moves over the frame, two pixels a frame."""
    frames = np.stack([data.astronaut()[2 * i : 2 * i + 64, 190:254] for i in range(FRAMES)])
    return Truth(frames, track([face()] * FRAMES))


def _values(truth: Truth, result: np.ndarray) -> dict[str, float]:
    scores = score(Comparison(truth, result, truth.faces), [BY_NAME[name] for name in NAMES])
    return {name: scores.value(BY_NAME[name]) for name in NAMES}


def test_a_copy_is_at_nothing_and_more_blur_is_further(truth: Truth) -> None:
    assert _values(truth, truth.frames) == {"lpips": 0, "tlp": 0}
    mild, strong = (_values(truth, gaussian_filter(truth.frames, (0, sigma, sigma, 0))) for sigma in (1, 3))
    assert 0 < mild["lpips"] < strong["lpips"]


def test_the_change_over_time_sees_a_frozen_and_a_flickering_result_and_not_where_the_picture_is(truth: Truth) -> None:
    moving = _values(truth, truth.frames[::-1].copy())  # the same changes, the other way round
    frozen = _values(truth, np.repeat(truth.frames[:1], FRAMES, axis=0))
    flicker = truth.frames.copy()
    flicker[1::2] = 255 - flicker[1::2]
    assert 0 < moving["tlp"] < frozen["tlp"] < _values(truth, flicker)["tlp"]
    scores = score(Comparison(truth, flicker, truth.faces), [BY_NAME["tlp"]]).per_frame["tlp"]
    assert np.isnan(scores[0]) and np.isfinite(scores[1:]).all()


def test_quality_is_looked_at_on_some_frames_evenly_and_needs_no_truth(
    truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "MOST_FRAMES", 3)  # each costs nine patches
    many = np.repeat(truth.frames[:1], 40, axis=0)
    long = Comparison(Truth(many, track([face()] * 40)), many, track([None] * 40))
    with counted(perceptual._hyperiqa(weight_file("hyperiqa"))) as runs:
        values = hyperiqa_frames(long)
    assert list(np.flatnonzero(np.isfinite(values))) == [0, 20, 39]
    assert len(runs) == 9, "one picture's patches: the repeated reference is looked at once"
    assert "hyperiqa" in {metric.name for metric in CROSS_METRICS}


def test_without_weights_they_are_missing_and_say_what_they_need(
    truth: Truth, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FYE_ASSETS", str(tmp_path / "empty"))
    for name in (*NAMES, "hyperiqa"):
        metric = BY_NAME[name]
        scores = score(Comparison(truth, truth.frames, truth.faces), [metric])
        assert np.isnan(scores.value(metric)) and metric.reason.startswith("needs the weights "), name
