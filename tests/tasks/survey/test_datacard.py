"""The data card says what is known of sources, licences and consent, and says of the rest that it is not known."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows.cli import app
from tasks.clips import RejectedTrack
from tasks.engine.store import Store
from tasks.jobs.surveys import survey, write_card
from tasks.survey.coverage import coverage_lines
from tasks.survey.datacard import datacard
from tasks.workspace.changes import note_sources
from tasks.workspace.decisions import take_decisions
from tasks.workspace.registry import change_registry
from tasks.workspace.sources import Root, Source
from tests.tasks.survey.made import Take, make_work

STUDIO = """
name: studio
title: "Studio | <b>one</b>"
published: nothing
citation: "Doe: Faces. 2020"
licence: {of_the_videos: {text: research only, verified: false}}
consent: signed by each, 2026
layout: "<subject>/<anything>"
names: ['(?P<subject>[^/]+)/.*']
subject: the folder's name
held_out: {by: subject, fraction: 0.05, seed: 0}
expressions: whatever
"""
LOST = RejectedTrack(reason="other_face", start=3, end=9, frames=6, box=(1.0, 2.0, 30.0, 40.0))
TAKES = (
    Take("anna", "anna-one", {"jawOpen": 0.9}, frames=75, lost=(LOST,)),
    Take("ben", "ben-one", {}, detected=20),
    Take("carl|<i>", "carl", {}),
)


def source(number: int, take: Take, **known: str) -> Source:
    return Source(f"/videos/{take.name}.mp4", take.name, take.subject, f"{number:016x}" + "0" * 48, 1, **known)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    card = tmp_path / "studio.yaml"
    card.write_text(STUDIO)
    folder = tmp_path / "work"
    store = Store(folder)
    roots = (Root("/videos", card=str(card)),)
    change_registry(store, lambda registry: registry.model_copy(update={"roots": roots}))
    of_studio = {"card": "studio", "licence": "research only"}
    places = ({**of_studio, "place": "outdoor"}, of_studio, {"card": "gone", "licence": "CC0 by its table"})
    note_sources(store, [source(i, take, **known) for i, (take, known) in enumerate(zip(TAKES, places, strict=True))])
    make_work(folder, TAKES, [("broken.mp4", "truncated")])
    return folder


def read(path: Path) -> tuple[dict[str, object], str]:
    _, head, text = path.read_text().split("---\n", 2)
    return yaml.safe_load(head), text


def test_sources_licences_and_consent_are_told_from_their_cards_and_the_rest_is_unknown(work: Path) -> None:
    facts, text = read(write_card(str(work)))
    assert facts["title"] == "work" and facts["clips"] == {"kept": 2, "all": 3} and facts["subjects"] == 2
    assert facts["licences"] == ["CC0 by its table", "research only (not verified)"]
    assert facts["consent"] == ["not known", "signed by each, 2026"]
    rows = [line for line in text.splitlines() if line.startswith("| Studio") or line.startswith("| gone")]
    assert sorted(rows) == [
        r"| Studio \| \<b\>one\</b\> | 2 | 0.1 min | 1 | research only (not verified) | signed by each, 2026 |",
        "| gone | 1 | 0.0 min | 1 | CC0 by its table | not known |",
    ]
    assert "Doe: Faces. 2020" in text and "Recorded outdoor: 1." in text


def test_people_rejections_and_coverage_are_those_of_the_run(work: Path) -> None:
    _, text = read(write_card(str(work)))
    assert "2 clips of 2 people, " in text and "with landmarks, head pose, blendshapes and two masks" in text
    assert "2 people, 0.0 to 0.1 minutes each" in text and "| anna | 1 | 0.1 |" in text
    assert r"| carl\|\<i\> | 1 |" in text and "| ben |" not in text
    assert "| readable | 3 files | truncated: 1 |" in text
    assert "| kept | 2 clips | min_detection_rate: 1 |" in text
    assert "| expression | mouth wide open | 3 | 1 of 2 |" in text
    assert "cheeks puffed | – | cannot be told" in text and "Shown by nobody for a second: frown" in text
    assert "<b>" not in text and "<i>" not in text


def test_one_person_is_no_people_and_a_landmark_model_without_blendshapes_promises_none(tmp_path: Path) -> None:
    make_work(tmp_path / "work", [Take("anna", "talk", {"jawOpen": 0.9})])
    found = survey(str(tmp_path / "work"))
    poses = tuple(one.model_copy(update={"told": one.group == "pose"}) for one in found.coverage.aspects)
    coverage = found.coverage.model_copy(update={"aspects": poses})
    text = datacard(found.holdings, found.stats, coverage, found.dates, "one", {})
    assert "1 clip of 1 person, " in text and "\n1 person, " in text
    assert "with landmarks, head pose and two masks" in text
    assert "| expression | all 18 | – | cannot be told |" in text and "frown" not in text
    assert "| expression | all 18 | – | – | cannot be told with this landmark model |" in coverage_lines(coverage)


def test_decisions_are_counted_and_a_set_without_people_is_told(work: Path, tmp_path: Path) -> None:
    from tasks.jobs.holdings import read_holdings

    chosen = ", ".join(f'"{clip.clip}": {{"keep": false}}' for clip in read_holdings(str(work)).kept)
    saved = tmp_path / "decisions.json"
    saved.write_text(f'{{"schema": 1, "decisions": {{{chosen}}}}}')
    take_decisions(Store(work), saved)
    make_work(work, TAKES)
    facts, text = read(write_card(str(work)))
    assert facts["subjects"] == 0 and "Nobody: no clip is kept." in text
    assert "By hand, against or beside the rules: 0 clips kept, 2 rejected." in text


def test_the_command_writes_where_it_is_told(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "card.md"
    command = ["card", "--work", str(work), "--output", str(place), "--title", "Our set: 1"]
    assert app(command, result_action="return_value") == 0
    assert capsys.readouterr().out == f"{place}\n" and read(place)[0]["title"] == "Our set: 1"
    with pytest.raises(ValueError, match="is a folder; give a file"):
        write_card(str(work), tmp_path)


def test_clips_of_videos_that_share_a_name_are_counted_once(tmp_path: Path) -> None:
    make_work(tmp_path / "work", [Take("anna", "talk", {"jawOpen": 0.9}), Take("ben", "talk", {"jawOpen": 0.7})])
    (line,) = [
        line for line in write_card(str(tmp_path / "work")).read_text().splitlines() if "no source named" in line
    ]
    assert line.split("|")[2].strip() == "2" and line.split("|")[4].strip() == "2", "two videos, two clips"
