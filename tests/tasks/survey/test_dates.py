"""A table of footage says when it was recorded; coverage and card tell it of the kept clips, and what is unknown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from flows.cli import app
from tasks.engine.store import Store
from tasks.jobs.surveys import coverage_text, survey, write_card
from tasks.survey.dates import date_lines
from tasks.workspace.changes import note_sources
from tasks.workspace.sources import Root, scan
from tests.tasks.survey.made import Take, make_work

TAKES = (
    (Take("anna", "anna-early", {"jawOpen": 0.9}), "2019-05-31"),
    (Take("anna", "anna-that-year", {"jawOpen": 0.5}, frames=75), "2019"),
    (Take("ben|<b>", "ben", {}), "2021-02-03"),
    (Take("ben|<b>", "ben-undated", {"eyeBlinkLeft": 0.9}, frames=100), ""),
    (Take("carl", "carl", {"eyeBlinkRight": 0.9}), ""),
    (Take("anna", "anna-dark", {}, detected=20), "1950"),  # rejected, so it is no oldest
)


def look(store: Store, folder: Path, dated: bool = True) -> None:
    """Note the takes' sources as a table of addresses tells them; the hash makes them the made work folder's own."""
    lines = ["uri,subject,sha256,size,recorded"]
    for number, (take, recorded) in enumerate(TAKES):
        lines.append(f"memory://set/{number}.mp4,{take.subject},{number:016x}{'0' * 48},1,{recorded if dated else ''}")
    (folder / "set.csv").write_text("\n".join(lines) + "\n")
    note_sources(store, scan(store, [Root(str(folder / "set.csv"))]))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dated")
    look(make_work(folder / "work", [take for take, _ in TAKES]), folder)
    return folder / "work"


def test_hours_by_year_and_each_subjects_ends_are_those_of_the_kept_clips(work: Path) -> None:
    found = survey(str(work))
    assert len(found.holdings.kept) == 5 and len(found.holdings.clips) == 6
    assert found.dates.hours_by_year == {"2019": round(5 / 3600, 4), "2021": round(2 / 3600, 4)}
    assert found.dates.hours_unknown == round(6 / 3600, 4)
    assert (found.dates.oldest, found.dates.newest) == ("2019", "2021-02-03")
    assert [(entry.subject, entry.oldest, entry.newest) for entry in found.dates.subjects] == [
        ("anna", "2019", "2019"),  # a year may be its first day and its last
        ("ben|<b>", "2021-02-03", "2021-02-03"),
        ("carl", None, None),
    ]
    assert [entry.minutes_unknown for entry in found.dates.subjects] == [0.0, round(4 / 60, 2), round(2 / 60, 2)]
    cut = date_lines(found.dates, 1)
    assert cut[-2].startswith("| anna |") and cut[-1].startswith("| … and 2 more |")


def test_coverage_and_card_tell_it_and_what_is_unknown(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app(["coverage", "--work", str(work)], result_action="return_value") == 0
    printed = capsys.readouterr().out
    card = write_card(str(work)).read_text()
    for text in (printed, card):
        assert "| 2019 | 0.1 min |" in text and "| unknown | 0.1 min |" in text
        assert r"| ben\|\<b\> | 2021-02-03 | 2021-02-03 | 0.1 | 0.1 |" in text
        assert "| carl | unknown | unknown | 0.0 | 0.0 |" in text
    facts = yaml.safe_load(card.split("---\n")[1])["recorded"]
    assert facts["oldest"] == "2019" and list(facts["hours_by_year"]) == ["2019", "2021"] and facts["hours_unknown"] > 0
    assert app(["coverage", "--work", str(work), "--json"], result_action="return_value") == 0
    told = json.loads(capsys.readouterr().out)["recorded"]
    assert {key: told[key] for key in facts} == facts and len(told["subjects"]) == 3


def test_a_set_without_dates_says_so_in_a_line(tmp_path: Path) -> None:
    look(make_work(tmp_path / "work", [take for take, _ in TAKES[:2]]), tmp_path, dated=False)
    (line,) = date_lines(survey(str(tmp_path / "work")).dates)
    assert line.startswith("When it was recorded: unknown, all of 0.1 min.")
    assert line in coverage_text(survey(str(tmp_path / "work")))
    assert f"## When it was recorded\n\n{line}" in write_card(str(tmp_path / "work")).read_text()
