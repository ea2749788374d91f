"""A work folder is told as it is: funnel, hours, subjects, what is lacking, recordings that are misnamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from flows.cli import app
from fye_model.config import ScreeningConfig
from tasks.clips import RejectedTrack
from tasks.jobs.holdings import read_holdings
from tasks.jobs.surveys import survey
from tasks.survey.coverage import coverage_lines
from tasks.survey.named import expression_of, named_lines
from tasks.survey.picture import coverage_png
from tasks.survey.stats import stats_lines
from tests.tasks.survey.made import Take, make_work

LOST = RejectedTrack(reason="too_short", start=3, end=9, frames=6, box=(1.0, 2.0, 30.0, 40.0))
TAKES = (
    Take("anna", "anna-crossed_eyes", {"eyeLookInLeft": 0.9, "eyeLookInRight": 0.8}),
    Take("anna", "anna-wink_left-2", {"eyeBlinkRight": 0.9}),  # the wrong eye
    Take("anna", "anna-cheeks_puffed", {}),
    Take("ben|<b>", "ben-talking-1", {"jawOpen": 0.9}, yaw_deg=30.0, frames=75, lost=(LOST,)),
    Take("ben|<b>", "ben-dark", {}, detected=20),
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    make_work(folder, TAKES, [("broken.mp4", "truncated"), ("empty.mp4", "truncated")])
    return folder


def test_the_funnel_goes_from_files_to_kept_clips_and_every_loss_has_a_reason(work: Path) -> None:
    stats = survey(str(work)).stats
    assert [(line.step, line.count) for line in stats.funnel] == [
        ("found", 7),
        ("readable", 5),
        ("with a face", 5),
        ("cut", 5),
        ("with landmarks", 5),
        ("kept", 4),
    ]
    lost = {line.step: line.lost for line in stats.funnel}
    assert lost["readable"] == {"truncated": 2} and lost["kept"] == {"min_detection_rate": 1}
    assert lost["cut"] == {"too_short (a face track)": 1}
    assert stats.hours_of_clips == pytest.approx(275 / 25 / 3600, abs=1e-4)
    assert stats.hours_kept == pytest.approx(225 / 25 / 3600, abs=1e-4)
    assert {line.subject: (line.clips, line.kept) for line in stats.subjects} == {"anna": (3, 3), "ben|<b>": (2, 1)}
    assert stats.bytes_by_stage["landmarks"] == sum(
        path.stat().st_size for path in work.rglob("items/landmarks/*/*") if path.name != "receipt.json"
    )


def test_a_video_without_a_face_counts_as_read_and_in_the_hours(tmp_path: Path) -> None:
    make_work(tmp_path, TAKES[:1], [("broken.mp4", "truncated")], faceless=["nobody.mp4"])
    stats = survey(str(tmp_path)).stats
    assert [(line.step, line.count, line.lost) for line in stats.funnel[:3]] == [
        ("found", 3, {}),
        ("readable", 2, {"truncated": 1}),
        ("with a face", 1, {"no_face": 1}),
    ]
    assert stats.hours_of_sources == pytest.approx(2 * 50 / 25 / 3600, abs=1e-4)


def test_each_subject_is_told_what_it_shows_and_lacks(work: Path) -> None:
    coverage = survey(str(work)).coverage
    known = {aspect.aspect: aspect for aspect in coverage.aspects}
    assert coverage.subjects["anna"]["crossed_eyes"] == pytest.approx(2.0)
    assert known["crossed_eyes"].lacking == ("ben|<b>",) and known["crossed_eyes"].subjects == 1
    assert known["turned_left"].lacking == ("anna",)
    assert not known["cheeks_puffed"].told and "cheeks_puffed" not in coverage.missing("anna")
    assert "frontal" not in coverage.missing("anna") and "frontal" in coverage.missing("ben|<b>")
    text = "\n".join(coverage_lines(coverage))
    assert r"ben\|\<b\>" in text and "<b>" not in text.replace(r"\<b\>", "")


def test_named_recordings_are_checked_against_their_blendshapes(work: Path) -> None:
    found = survey(str(work)).named
    said = {entry.expression: entry.said for entry in found}
    assert {entry.subject for entry in found} == {"anna"}, "talking alone makes no captured subject"
    assert said["crossed_eyes"] == "shown" and said["cheeks_puffed"] == "cannot_be_told"
    assert said["wink_left"] == "weak" and said["pout"] == "not_recorded"
    (wink,) = [entry for entry in found if entry.expression == "wink_left"]
    assert wink.looks_like == ("wink_right",) and wink.strongest == 0.0 and wink.needed == 0.4
    assert any("wink_left" in line and "wink right" in line for line in named_lines(found))


@pytest.mark.parametrize(
    ("source", "subject", "expression"),
    [
        ("anna-wink_left-2", "anna", "wink_left"),
        ("anna-Mouth Wide Open", "anna", "mouth_wide_open"),
        ("p7-outdoor-frown03", "p7", "frown"),
        ("anna-talking-01", "anna", "talking"),
        ("pout-frowning", "pout", None),
        ("interview", "interview", None),
    ],
)
def test_an_expression_is_read_from_a_name(source: str, subject: str, expression: str | None) -> None:
    assert expression_of(source, subject) == expression


def test_the_picture_has_a_row_a_subject_and_survives_any_name(work: Path, tmp_path: Path) -> None:
    coverage = survey(str(work)).coverage
    strange = {f"${name}$_^{{": found for name, found in coverage.subjects.items()}
    for number, some in enumerate((coverage, coverage.model_copy(update={"subjects": strange}))):
        path = tmp_path / f"{number}.png"
        path.write_bytes(coverage_png(some))
        with Image.open(path) as picture:
            assert picture.width > 1000


def test_the_commands_print_tables_or_json(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app(["stats", "--work", str(work)], result_action="return_value") == 0
    printed = capsys.readouterr().out
    assert "| kept | 4 clips | min_detection_rate: 1 |" in printed and "crossed eyes" in printed
    assert app(["stats", "--work", str(work), "--json"], result_action="return_value") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == 1 and told["funnel"][-1]["count"] == 4
    assert app(["coverage", "--work", str(work), "--output", str(tmp_path / "out")], result_action="return_value") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"coverage.png", "coverage.md", "coverage.json"}


def test_a_folder_without_a_finished_run_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no work folder .*run fye refresh"):
        read_holdings(str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"no run has ended in .*run fye refresh"):
        read_holdings(str(tmp_path))


def test_a_set_without_kept_clips_is_still_told(tmp_path: Path) -> None:
    make_work(tmp_path, TAKES[:1], screening=ScreeningConfig(min_sharpness=1e6))
    found = survey(str(tmp_path))
    assert found.stats.hours_kept == 0 and found.stats.face_px is None
    assert "0.0 min" in stats_lines(found.stats)[0] and coverage_png(found.coverage)
