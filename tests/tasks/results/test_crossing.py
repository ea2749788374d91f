"""Somebody else drives: who is paired with whom, what is drawn, and what a result is held against."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fye_model.config import EvaluationConfig, SamplingConfig
from fye_model.landmarks.geometry import FaceGeometry
from tasks.faces.detector import FaceLandmarker
from tasks.media.read import read_frames
from tasks.results.cross_tables import CrossRecord, summarise_cross
from tasks.results.crossing import CrossClip, ScoredCross, cross_pairs, load_cross, score_cross, why_none
from tasks.results.reenactment import Entry, HeldOut, load_clip, read_held_out

CONFIG, SAMPLING = EvaluationConfig(frames=5), SamplingConfig()


def _held_out(people: dict[str, int]) -> HeldOut:
    clips = [
        Entry(f"{who}{number}", f"{who}-{number}", who, (0, 9), False, Path("x"), Path("x"))
        for who, count in people.items()
        for number in range(count)
    ]
    return HeldOut("model", 64, 25.0, FaceGeometry.mean_mesh(), clips)


def test_every_reference_performs_as_often_as_the_others_and_never_its_own_person() -> None:
    held_out = _held_out({"anna": 3, "bela": 2, "cleo": 1})
    pairs = cross_pairs(held_out, held_out.clips, None)
    assert pairs == cross_pairs(held_out, held_out.clips, None) and len(pairs) == len({pair.id for pair in pairs}) == 6
    assert all(pair.portrait.subject != pair.driver.subject for pair in pairs)
    assert set(Counter(pair.portrait.clip for pair in pairs).values()) == {1}
    assert max(Counter(pair.driver.clip for pair in pairs).values()) <= 2
    twice = cross_pairs(held_out, held_out.clips, 10)
    assert Counter(Counter(pair.portrait.clip for pair in twice).values()) == {2: 4, 1: 2}
    everything = cross_pairs(held_out, held_out.clips, 999)
    assert len(everything) == 3 * 3 + 2 * 4 + 1 * 5, "all there are"
    # few evaluated clips of one person are still driven by the others
    assert {pair.driver.subject for pair in cross_pairs(held_out, held_out.clips[:2], None)} == {"bela"}


def test_where_only_one_person_is_held_out_it_is_said_why_nothing_is_crossed() -> None:
    held_out = _held_out({"anna": 6})
    assert cross_pairs(held_out, held_out.clips, None) == []
    told = summarise_cross([], why_none(held_out, None))["left_out"]
    assert "only one person (anna)" in told and "two or more people" in told
    assert "cross_pairs is 0" in why_none(_held_out({"anna": 1, "bela": 1}), 0)


@pytest.fixture(scope="module")
def held_out(held_out_data: Any) -> HeldOut:
    return read_held_out(held_out_data.index)


@pytest.fixture(scope="module")
def clip(held_out: HeldOut) -> CrossClip:
    (pair, _) = cross_pairs(held_out, held_out.clips, None)
    return load_cross(held_out, pair, 5, "expression_aware", CONFIG, SAMPLING)


class Returns:
    """Called like a pipeline; returns frames that the test chose, and keeps what it was asked for."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames, self.reference, self.landmarks = frames, np.empty(0), np.empty(0)

    def __call__(self, reference: Image.Image, landmarks: np.ndarray, **_: Any) -> SimpleNamespace:
        self.reference, self.landmarks = np.asarray(reference), landmarks
        return SimpleNamespace(frames=self.frames / 255)


def _score(clip: CrossClip, result: np.ndarray, data: Any) -> tuple[ScoredCross, Returns]:
    pipeline = Returns(result)
    with FaceLandmarker(data.landmarker.path, data.landmarker.model) as detector:
        return score_cross(pipeline, clip, detector, SAMPLING, 128, FaceGeometry.mean_mesh()), pipeline


def _values(scored: ScoredCross, method: str = "model") -> dict[str, Any]:
    record = _record(scored)
    return {name: value for name, value in summarise_cross([record], None)["list"][0][method].items()}


def _record(scored: ScoredCross) -> CrossRecord:
    words = ("a--b", "a performs b", "a", "b")
    scores = {"model": scored.model, "baseline": scored.baseline}
    rest = {"subjects": ("a", "b"), "span": (3, 9), "reference": 3, "aligned": True, "not_driven": 0}
    return CrossRecord(*words, **rest, motion=scored.motion, scores=scores, video="v.mp4", strip="s.png")


def test_the_first_held_out_frame_performs_what_the_other_does_after_its_own(
    held_out_data: Any, clip: CrossClip
) -> None:
    folder = held_out_data.index.parent
    talk, turn = (read_frames(folder / name / "clip.mp4") for name in ("talk", "turn"))
    assert clip.span == (3, 9) and clip.reference == 3 and clip.aligned and clip.not_driven == 0
    scored, asked = _score(clip, clip.driving, held_out_data)
    assert np.array_equal(asked.reference, talk[3]) and np.array_equal(asked.landmarks, clip.landmarks)
    assert np.array_equal(scored.reenactment.truth, turn[4:9]), "the driver stands where the truth would"


@pytest.mark.parametrize("rule", [{"window": "moving"}, {"protocol": "far"}])
def test_the_reference_is_the_one_of_self_reenactment(held_out: HeldOut, clip: CrossClip, rule: dict[str, Any]) -> None:
    config = CONFIG.model_copy(update=rule)
    crossed = load_cross(held_out, clip.pair, 3, "expression_aware", config, SAMPLING)
    own = load_clip(held_out, clip.pair.portrait, 3, "expression_aware", config)
    assert crossed.reference == own.reference and np.array_equal(crossed.portrait, own.frames[0])


def test_the_motion_is_laid_onto_the_reference_unless_plain_landmarks_are_drawn(
    held_out: HeldOut, clip: CrossClip
) -> None:
    plain = load_cross(held_out, clip.pair, 5, "plain_2d", CONFIG, SamplingConfig(smoothing="none"))
    own = load_clip(held_out, clip.pair.driver, 5, "plain_2d", CONFIG)
    assert not plain.aligned and np.array_equal(plain.landmarks, own.pictures[1:])
    assert not np.array_equal(clip.landmarks, plain.landmarks)
    assert (clip.landmarks.reshape(5, -1).max(axis=1) > 0).all()


def test_the_driver_copied_follows_in_every_number_and_is_not_the_portrait(held_out_data: Any, clip: CrossClip) -> None:
    scored, _ = _score(clip, clip.driving, held_out_data)
    copied, still = _values(scored), _values(scored, "baseline")
    assert copied["landmark_ap_placed"] == 1 and copied["expression_change_error"] < 1e-9
    assert copied["expression_correlation"] == pytest.approx(1) and copied["failure_rate"] == 0
    assert copied["portrait_away"] > still["portrait_away"] == 0
    assert still["expression_correlation"] == 0 and still["expression_change_error"] > 0
    noise = np.random.default_rng(0).integers(0, 256, clip.driving.shape, dtype=np.uint8)
    assert _values(_score(clip, noise, held_out_data)[0])["failure_rate"] == 1


def test_metrics_say_how_many_people_and_what_is_missing_and_a_record_comes_back_from_json(
    held_out_data: Any, clip: CrossClip
) -> None:
    record = _record(_score(clip, clip.driving, held_out_data)[0])
    other = replace(record, pair="b--a", subjects=("b", "a"), aligned=False)
    told = summarise_cross([record, other], None)
    assert (told["pairs"], told["people"], told["not_aligned"]) == (2, 2, 1)
    assert told["difference"]["expression_change_error"]["outcome"] == "better"
    assert {"arcface", "hyperiqa"} <= set(told["missing"]) and "lpips" not in told["missing"]
    assert CrossRecord.from_json(record.to_json()).to_json() == record.to_json()
