"""Two finished runs are compared on the clips that both have, and only where they were measured alike."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fye_model.config import SamplingConfig
from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.scores import score
from fye_model.evaluation.windows import motion
from fye_model.files import write_json
from fye_model.landmarks.geometry import FaceGeometry
from tasks.compare import read_run
from tasks.results.comparison import Row, RunComparison, Section, compare_runs
from tasks.results.comparison_text import markdown
from tasks.results.records import ClipRecord
from tasks.results.reenactment import HeldOut, protocol
from tasks.results.tables import summarise, write_results
from tests.fye_model.evaluation.moving_face import face, track

FRAMES, SIZE, CLIPS = 12, 24, 4
HELD_OUT = HeldOut("face_landmarker_v2:64184e22", SIZE, 25.0, FaceGeometry.mean_mesh(), [])


def _record(number: int, amplitude: float, noise: float, *, contrast: int = 60, start: int = 0) -> ClipRecord:
    """A clip whose result moves its mouth `amplitude` as far as the truth, in pictures that are `noise` levels off."""
    rng = np.random.default_rng(number)
    mouth = 1 + np.sin(np.arange(FRAMES) / 2 + number)
    pictures = rng.integers(90, 90 + contrast, (FRAMES, SIZE, SIZE, 3)).astype(np.uint8)
    truth = Truth(pictures, track([face(opening) for opening in mouth], SIZE))
    moved = track([face(1 + amplitude * (opening - 1) + 0.02 * rng.normal()) for opening in mouth], SIZE)
    off = (pictures + rng.normal(noise, 1 + noise, pictures.shape)).clip(0, 255).astype(np.uint8)
    still = Comparison(truth, np.repeat(pictures[:1], FRAMES, axis=0), track([face(mouth[0])] * FRAMES, SIZE))
    return ClipRecord(
        clip=f"id-{number}",
        name=f"clip-{number}",
        subject=f"person-{number}",
        span=(start, start + FRAMES),
        reference=start,
        trained_on=False,
        not_driven=0,
        motion=motion(truth.signals),
        scores={"model": score(Comparison(truth, off, moved)), "baseline": score(still)},
        truth_signals={name: tuple(map(float, values)) for name, values in truth.signals.items()},
        video="videos/x.mp4",
        strip="strips/x.png",
    )


def _write(folder: Path, records: list[ClipRecord], held_out: HeldOut = HELD_OUT, steps: int = 5) -> Path:
    """An evaluation's folder, as an evaluation leaves it."""
    terms = protocol(held_out, SamplingConfig(steps=steps), FRAMES, SIZE, "expression_aware")
    for record in records:
        write_json(folder / "records" / f"{record.clip}.json", {**record.to_json(), "schema": 2, "key": "k"})
    write_results(records, folder / "results.parquet")
    write_json(folder / "metrics.json", summarise(records, terms))
    return folder


@pytest.fixture(scope="module")
def good() -> list[ClipRecord]:
    return [_record(number, amplitude=0.95, noise=2) for number in range(CLIPS)]


@pytest.fixture(scope="module")
def poor() -> list[ClipRecord]:
    return [_record(number, amplitude=0.1, noise=9) for number in range(CLIPS)]


def _compare(a: Path, b: Path) -> RunComparison:
    return compare_runs(read_run(a), read_run(b))


def _section(found: RunComparison) -> Section:
    (section,) = found.sections
    return section


def _rows(found: RunComparison) -> dict[str, Row]:
    return {row.metric: row for row in _section(found).rows}


def test_the_better_run_is_better_whichever_is_named_first(
    good: list[ClipRecord], poor: list[ClipRecord], tmp_path: Path
) -> None:
    a, b = _write(tmp_path / "a", good), _write(tmp_path / "b", poor)
    there, back = _rows(_compare(a, b)), _rows(_compare(b, a))
    for name in ("l1", "psnr", "expression_error", "expression.mouth_opening.slope"):
        assert (there[name].outcome, back[name].outcome) == ("better", "worse"), name
        difference, other = there[name].difference, back[name].difference
        assert difference.interval is not None and other.interval is not None
        assert difference.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    l1 = there["l1"]
    assert float(l1.difference.value or 0) == pytest.approx(float(l1.a.value or 0) - float(l1.b.value or 0))
    stored = json.loads((a / "metrics.json").read_text())["model"]
    assert (l1.a.value, list(l1.a.interval or ())) == (stored["l1"]["mean"], stored["l1"]["ci95"])
    assert "the picture is better than B's" in _section(_compare(a, b)).sentence
    assert "the picture is worse than B's" in _section(_compare(b, a)).sentence


def test_a_run_against_itself_cannot_be_told_apart(good: list[ClipRecord], tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", good)
    found = _compare(folder, folder)
    assert {row.outcome for row in _rows(found).values()} == {"cannot tell"}
    assert {row.difference.value for row in _rows(found).values()} <= {0, None}
    assert "the expression cannot be told" in _section(found).sentence
    assert f"On {CLIPS} clips, too few to know" in _section(found).sentence


def test_clips_that_only_one_has_are_named_and_left_out(
    good: list[ClipRecord], poor: list[ClipRecord], tmp_path: Path
) -> None:
    a, b = _write(tmp_path / "a", good[:3]), _write(tmp_path / "b", poor[1:])
    found = _compare(a, b)
    assert (found.only_in_a, found.only_in_b) == (("clip-0",), ("clip-3",))
    assert _section(found).clips == ("clip-1", "clip-2")
    same = [_write(tmp_path / name, records[1:3]) for name, records in (("c", good), ("d", poor))]
    assert _section(_compare(*same)).rows == _section(found).rows
    assert "- only in A, not compared: clip-0" in markdown(found)


def test_training_that_knew_the_clips_is_part_of_the_sentence(
    good: list[ClipRecord], poor: list[ClipRecord], tmp_path: Path
) -> None:
    a = _write(tmp_path / "a", [replace(record, trained_on=True) for record in good])
    sentence = _section(_compare(a, _write(tmp_path / "b", poor))).sentence
    assert f"training saw other frames of {CLIPS} of them in A, of 0 in B" in sentence


def test_runs_that_were_not_measured_alike_are_refused_with_every_difference_named(
    good: list[ClipRecord], tmp_path: Path
) -> None:
    a = _write(tmp_path / "a", good)
    b = _write(tmp_path / "b", good, replace(HELD_OUT, landmark_model="attention_mesh:e06a804e", size=20))
    stored = json.loads((b / "metrics.json").read_text())
    stored["protocol"]["metrics"]["l1"] = "another formula"
    write_json(b / "metrics.json", stored)
    with pytest.raises(ValueError, match="not measured alike") as caught:
        _compare(a, b)
    told = str(caught.value)
    assert "landmark_model: A has 'face_landmarker_v2:64184e22', B has 'attention_mesh:e06a804e'" in told
    assert f"generated_size: A has {SIZE}, B has 20" in told and f"evaluated_size: A has {SIZE}, B has 20" in told
    assert "metric l1: A measured" in told and "another formula" in told


def test_other_sampling_is_told_and_no_reason_to_refuse(good: list[ClipRecord], tmp_path: Path) -> None:
    text = markdown(_compare(_write(tmp_path / "a", good, steps=5), _write(tmp_path / "b", good, steps=9)))
    assert "- sampling differs: A " in text and "'steps': 9" in text


def test_other_frames_and_other_pictures_of_a_clip_are_named(good: list[ClipRecord], tmp_path: Path) -> None:
    a = _write(tmp_path / "a", good)
    others = [_record(0, 0.95, 2, start=7), *good[1:3], _record(3, 0.95, 2, contrast=80)]
    with pytest.raises(ValueError, match="not measured alike") as caught:
        _compare(a, _write(tmp_path / "b", others))
    told = str(caught.value)
    assert "clip clip-0: A scored 12 frames of 0 to 12, the reference is frame 0; B scored 12 frames of 7 to" in told
    assert "clip clip-3: its pictures are not the same" in told and "clip-1" not in told


def test_runs_without_a_common_clip_are_refused(good: list[ClipRecord], tmp_path: Path) -> None:
    a, b = _write(tmp_path / "a", good[:2]), _write(tmp_path / "b", good[2:])
    with pytest.raises(ValueError, match=r"no clip in common: A has clip-0, clip-1; B has clip-2, clip-3"):
        _compare(a, b)


def test_a_work_folder_and_what_it_published_are_read_alike(good: list[ClipRecord], tmp_path: Path) -> None:
    """Also where the published folder has no records: those of the item that it is a copy of are taken."""
    item = _write(tmp_path / "work" / "items" / "evaluate" / "abc", good)
    _write(tmp_path / "work" / "items" / "evaluate" / "older", good[:1])
    shutil.copytree(item, tmp_path / "work" / "evaluation", ignore=shutil.ignore_patterns("records"))
    for place in (tmp_path / "work", tmp_path / "work" / "evaluation"):
        assert repr(read_run(place).clips) == repr(read_run(item).clips)  # NaN is not equal to itself
    shutil.rmtree(tmp_path / "work" / "items")
    with pytest.raises(ValueError, match=r"has no folder 'records'.*give a work folder"):
        read_run(tmp_path / "work")


def test_a_folder_without_an_evaluation_says_what_was_there(good: list[ClipRecord], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent is no folder"):
        read_run(tmp_path / "absent")
    write_json(tmp_path / "w" / "summary.json", {"flow": "retrain", "status": "Failed", "error": "OSError: disk"})
    with pytest.raises(ValueError, match="its last run was `retrain`, which ended as Failed: OSError: disk"):
        read_run(tmp_path / "w")
    old = _write(tmp_path / "old", good)
    write_json(old / "metrics.json", {"schema": 1})
    with pytest.raises(ValueError, match="schema is 1, expected 2; evaluate again"):
        read_run(old)
    damaged = _write(tmp_path / "damaged", good)
    (damaged / "records" / "id-1.json").unlink()
    with pytest.raises(ValueError, match="no record of the clips id-1"):
        read_run(damaged)
    (damaged / "records" / "id-1.json").write_text("{}")
    with pytest.raises(ValueError, match=r"id-1\.json does not hold what an evaluation writes"):
        read_run(damaged)


def test_a_model_can_be_compared_with_the_repeated_reference(poor: list[ClipRecord], tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", poor)
    found = compare_runs(read_run(folder), read_run(folder, "baseline"))
    stored = json.loads((folder / "metrics.json").read_text())["difference"]
    for name, row in _rows(found).items():
        if name in stored:  # how often no face is found is counted there, not compared
            assert (row.difference.value, row.outcome) == (stored[name]["mean"], stored[name]["outcome"]), name
    with pytest.raises(ValueError, match="not 'other'"):
        read_run(folder, "other")
