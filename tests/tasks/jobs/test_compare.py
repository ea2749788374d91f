"""Two finished runs are compared on the clips that both have, and only where they were measured alike."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fye_model.files import write_json
from tasks.jobs.compare import read_run
from tasks.results.comparison import Row, RunComparison, Section, compare_runs
from tasks.results.comparison_text import markdown
from tasks.results.records import ClipRecord
from tests.tasks.finished import CLIPS, HELD_OUT, SIZE, make_record, write_evaluation


@pytest.fixture(scope="module")
def good() -> list[ClipRecord]:
    return [make_record(number, amplitude=0.95, noise=2) for number in range(CLIPS)]


@pytest.fixture(scope="module")
def poor() -> list[ClipRecord]:
    return [make_record(number, amplitude=0.1, noise=9) for number in range(CLIPS)]


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
    a, b = write_evaluation(tmp_path / "a", good), write_evaluation(tmp_path / "b", poor)
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
    folder = write_evaluation(tmp_path / "a", good)
    found = _compare(folder, folder)
    assert {row.outcome for row in _rows(found).values()} == {"cannot tell"}
    assert {row.difference.value for row in _rows(found).values()} <= {0, None}
    assert "the expression cannot be told" in _section(found).sentence
    assert f"On {CLIPS} clips, too few to know" in _section(found).sentence


def test_clips_that_only_one_has_are_named_and_left_out(
    good: list[ClipRecord], poor: list[ClipRecord], tmp_path: Path
) -> None:
    a, b = write_evaluation(tmp_path / "a", good[:3]), write_evaluation(tmp_path / "b", poor[1:])
    found = _compare(a, b)
    assert (found.only_in_a, found.only_in_b) == (("clip-0",), ("clip-3",))
    assert _section(found).clips == ("clip-1", "clip-2")
    same = [write_evaluation(tmp_path / name, records[1:3]) for name, records in (("c", good), ("d", poor))]
    assert _section(_compare(*same)).rows == _section(found).rows
    assert "- only in A, not compared: clip-0" in markdown(found)


def test_training_that_knew_the_clips_is_part_of_the_sentence(
    good: list[ClipRecord], poor: list[ClipRecord], tmp_path: Path
) -> None:
    a = write_evaluation(tmp_path / "a", [replace(record, trained_on=True) for record in good])
    sentence = _section(_compare(a, write_evaluation(tmp_path / "b", poor))).sentence
    assert f"training saw other frames of {CLIPS} of them in A, of 0 in B" in sentence


def test_runs_that_were_not_measured_alike_are_refused_with_every_difference_named(
    good: list[ClipRecord], tmp_path: Path
) -> None:
    a = write_evaluation(tmp_path / "a", good)
    b = write_evaluation(tmp_path / "b", good, replace(HELD_OUT, landmark_model="attention_mesh:e06a804e", size=20))
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
    text = markdown(
        _compare(write_evaluation(tmp_path / "a", good, steps=5), write_evaluation(tmp_path / "b", good, steps=9))
    )
    assert "- sampling differs: A " in text and "'steps': 9" in text


def test_other_frames_and_other_pictures_of_a_clip_are_named(good: list[ClipRecord], tmp_path: Path) -> None:
    a = write_evaluation(tmp_path / "a", good)
    others = [make_record(0, 0.95, 2, start=7), *good[1:3], make_record(3, 0.95, 2, contrast=80)]
    with pytest.raises(ValueError, match="not measured alike") as caught:
        _compare(a, write_evaluation(tmp_path / "b", others))
    told = str(caught.value)
    assert "clip clip-0: A scored 12 frames of 0 to 12, the reference is frame 0; B scored 12 frames of 7 to" in told
    assert "clip clip-3: its pictures are not the same" in told and "clip-1" not in told


def test_runs_without_a_common_clip_are_refused(good: list[ClipRecord], tmp_path: Path) -> None:
    a, b = write_evaluation(tmp_path / "a", good[:2]), write_evaluation(tmp_path / "b", good[2:])
    with pytest.raises(ValueError, match=r"no clip in common: A has clip-0, clip-1; B has clip-2, clip-3"):
        _compare(a, b)


def test_a_work_folder_and_what_it_published_are_read_alike(good: list[ClipRecord], tmp_path: Path) -> None:
    """Also where the published folder has no records: those of the item that it is a copy of are taken."""
    item = write_evaluation(tmp_path / "work" / "items" / "evaluate" / "abc", good)
    write_evaluation(tmp_path / "work" / "items" / "evaluate" / "older", good[:1])
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
    old = write_evaluation(tmp_path / "old", good)
    write_json(old / "metrics.json", {"schema": 1})
    with pytest.raises(ValueError, match="schema is 1, expected 2; evaluate again"):
        read_run(old)
    damaged = write_evaluation(tmp_path / "damaged", good)
    (damaged / "records" / "id-1.json").unlink()
    with pytest.raises(ValueError, match="no record of the clips id-1"):
        read_run(damaged)
    (damaged / "records" / "id-1.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="cannot be read: nested without end"):
        read_run(damaged)
    (damaged / "records" / "id-1.json").write_text("{}")
    with pytest.raises(ValueError, match=r"id-1\.json does not hold what an evaluation writes"):
        read_run(damaged)


def test_records_of_another_evaluation_than_its_tables_are_not_believed(
    good: list[ClipRecord], poor: list[ClipRecord], tmp_path: Path
) -> None:
    folder = write_evaluation(tmp_path / "a", good)
    write_json(folder / "records" / "id-2.json", poor[2].to_json())  # as a kill in the midst of publishing leaves it
    with pytest.raises(ValueError, match=r"records of the clips id-2 are not those that metrics\.json was made of"):
        read_run(folder)


def test_a_model_can_be_compared_with_the_repeated_reference(poor: list[ClipRecord], tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "a", poor)
    found = compare_runs(read_run(folder), read_run(folder, "baseline"))
    stored = json.loads((folder / "metrics.json").read_text())["difference"]
    for name, row in _rows(found).items():
        if name in stored:  # how often no face is found is counted there, not compared
            assert (row.difference.value, row.outcome) == (stored[name]["mean"], stored[name]["outcome"]), name
    with pytest.raises(ValueError, match="not 'other'"):
        read_run(folder, "other")
