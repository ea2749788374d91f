"""FVD is the Fréchet distance of two sets of clips: known values, and by I3D weights of the published form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from fye_model.evaluation import video_distance
from fye_model.evaluation.aggregate import compare, estimate
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.graphs import i3d
from fye_model.evaluation.scores import ClipScores, score
from fye_model.evaluation.table import BY_NAME
from fye_model.evaluation.video_distance import frechet_distance
from fye_model.evaluation.weights import weight_file
from tests.fye_model.evaluation.graphs.published import drawn, i3d_shapes
from tests.fye_model.evaluation.moving_face import face, track
from tests.fye_model.evaluation.weighed import counted, give

FVD = BY_NAME["fvd"]
DRAW = np.random.default_rng(0)


def test_equal_sets_are_at_nothing_in_whatever_order() -> None:
    rows = DRAW.normal(size=(12, 400)) * 10
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(rows, rows[::-1]) == pytest.approx(0, abs=1e-6)
    other = DRAW.normal(size=(9, 400))
    assert (
        frechet_distance(rows, other) == pytest.approx(frechet_distance(other, rows))
        and frechet_distance(rows, other) > 0
    )


def test_a_shift_counts_its_square_and_a_scale_the_square_of_what_it_adds_to_the_spread() -> None:
    rows = DRAW.normal(size=(50, 6))
    shift = np.arange(6.0)
    assert frechet_distance(rows, rows + shift) == pytest.approx(np.square(shift).sum())
    centred = rows - rows.mean(axis=0)
    variance = np.square(centred).sum() / 49
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * variance)


def test_it_is_the_formula_with_the_root_of_the_covariances_product() -> None:
    first, second = DRAW.normal(size=(40, 5)), DRAW.normal(size=(30, 5)) @ DRAW.normal(size=(5, 5)) + 1
    cov1, cov2 = np.cov(first.T), np.cov(second.T)
    root = sqrtm(cov1 @ cov2).real
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(cov1 + cov2 - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected)


def test_a_set_of_one_has_no_distance() -> None:
    assert np.isnan(frechet_distance(np.zeros((1, 4)), np.zeros((5, 4))))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("i3d") / "i3d_pretrained_400.pt"
    torch.save(drawn(i3d_shapes()), path)
    return path


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    return [np.random.default_rng(seed).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8) for seed in range(2)]


def _scored(clips: list[np.ndarray], results: list[np.ndarray]) -> list[ClipScores]:
    faces = track([face()] * len(clips[0]))
    return [
        score(Comparison(Truth(clip, faces), result, faces), [FVD]) for clip, result in zip(clips, results, strict=True)
    ]


def test_copies_are_at_nothing_and_another_set_is_not_and_there_is_no_interval(
    weights: Path, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    give(monkeypatch, tmp_path / "assets", {"i3d": weights})
    copies = _scored(clips, clips)
    still = _scored(clips, [np.repeat(clip[:1], 9, axis=0) for clip in clips])
    found = estimate(FVD, copies)
    assert found.value == pytest.approx(0, abs=1e-6) and (found.interval, found.clips) == (None, 2)
    assert estimate(FVD, still).value > 1e-3
    against = compare(FVD, still, copies)
    assert against.value > 1e-3 and (against.interval, against.outcome) == (None, "cannot tell")
    alone = estimate(FVD, copies[:1])
    assert np.isnan(alone.value) and alone.reason == "fewer than two square clips of 9 frames"
    assert np.isnan(copies[0].value(FVD)), "one clip is no set"


def test_the_truth_is_looked_at_once_for_all_methods(
    weights: Path, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    give(monkeypatch, tmp_path / "assets", {"i3d": weights})
    faces = track([face()] * len(clips[0]))
    truth = Truth(255 - clips[0], faces)
    with counted(video_distance._network(weight_file("i3d"))) as runs:
        for result in clips:
            score(Comparison(truth, result, faces), [FVD])
    assert len(runs) == 3


def test_short_clips_and_a_machine_without_weights_leave_it_out_with_a_reason(
    weights: Path, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    give(monkeypatch, tmp_path / "assets", {"i3d": weights})
    short = [clip[:8] for clip in clips]
    assert np.isnan(_scored(short, short)[0].statistics["fvd"]).all()
    monkeypatch.setenv("FYE_ASSETS", str(tmp_path / "empty"))
    found = estimate(FVD, _scored(clips, clips))
    assert np.isnan(found.value) and str(found.reason).startswith("needs the weights i3d/i3d_pretrained_400.pt")


def test_it_knows_what_the_network_wants() -> None:
    assert (video_distance.LOGITS, video_distance.FEWEST_FRAMES) == (i3d.LOGITS, i3d.FEWEST_FRAMES)
