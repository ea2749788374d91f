"""Answers are pooled as given, half-finished ones too; each file that cannot be used is named with its reason."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli import app
from tasks.jobs.score_study import score_study
from tasks.study.answers import Answers
from tasks.study.manifest import QUESTIONS, STUDY, Study
from tests.tasks.study.small import METHODS

EVIL = "<img src=x onerror=alert(1)>"
Folder = tuple[Path, Study]


def answers(
    study: Study, rater: int, orders: dict[str, tuple[str, ...]], cases: int = 99, **more: Any
) -> dict[str, Any]:
    """What the page writes when `orders` (question -> methods, the best first) hold for the first so many cases."""
    return {
        "schema": 1,
        "study": study.id,
        "rater": f"{rater:016x}",
        "name": "",
        "started": "2026-01-02T03:04:05.000Z",
        "saved": "2026-01-02T03:34:05.000Z",
        "order": [case.id for case in study.cases],
        "at": [0, 0],
        "answers": {
            case.id: {question: _letters(case.slots, order) for question, order in orders.items()}
            for case in study.cases[:cases]
        },
        **more,
    }


def _letters(slots: dict[str, str], order: tuple[str, ...]) -> list[str]:
    by_method = {method: letter for letter, method in slots.items()}
    return [by_method[method] for method in order]


def same(order: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {question.id: order for question in QUESTIONS}


def write(folder: Path, name: str, values: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_known_answers_give_known_numbers_in_every_format(built: Folder, tmp_path: Path) -> None:
    folder, study = built
    a, b, c = METHODS
    for rater, order in enumerate([(b, a, c), (b, c, a), (b, a, c)]):
        write(tmp_path / "in", str(rater), answers(study, rater, same(order)))
    found = score_study(folder, [tmp_path / "in"], tmp_path / "out")
    for scores in found.questions:
        assert (scores.raters, scores.cases, scores.rankings) == (3, 4, 12)
        assert {row.method: row.mean_rank.value for row in scores.methods} == pytest.approx({b: 1, a: 7 / 3, c: 8 / 3})
        assert [row.method for row in scores.methods] == [b, a, c]
        wins = {(win.ours, win.theirs): win for win in scores.wins}
        assert wins[a, b].share.value == 0 and wins[a, b].choice == "not preferred"
        assert wins[b, c].share.interval == (1, 1) and wins[b, c].choice == "preferred"
        assert wins[a, c].choice == "cannot tell"
        assert scores.agreement is not None
        assert scores.agreement.rank_correlation.value == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert json.loads((tmp_path / "out" / "study-scores.json").read_text()) == found.model_dump(
        mode="json", by_alias=True
    )
    table = (tmp_path / "out" / "table.md").read_text()
    assert "## Expression (3 raters, 4 cases, 12 rankings)" in table
    assert f"| {b} | 1.00 [1.00, 1.00] | 100% [100, 100] |" in table and f"| {a} before {b} | 0% [0, 0] |" in table
    with (tmp_path / "out" / "table.csv").open(newline="") as handle:
        (row,) = [
            row
            for row in csv.DictReader(handle)
            if (row["question"], row["measure"], row["method"]) == ("identity", "mean_rank", a)
        ]
    assert float(row["value"]) == pytest.approx(7 / 3)
    assert float(row["low"]) < float(row["value"]) < float(row["high"])
    with (tmp_path / "out" / "rankings.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 3 * 4 * 3 * 3
    assert {row["rank"] for row in rows if row["method"] == b} == {"1"}


def test_half_finished_answers_count_for_what_they_hold(built: Folder, tmp_path: Path) -> None:
    folder, study = built
    write(tmp_path / "in", "whole", answers(study, 1, same(METHODS)))
    half = answers(study, 2, {"expression": METHODS[::-1]}, cases=2)
    half["answers"][study.cases[2].id] = {"expression": ["a"], "identity": []}
    write(tmp_path / "in", "half", half)
    found = score_study(folder, [tmp_path / "in"], tmp_path / "out")
    sizes = {scores.question: (scores.raters, scores.cases, scores.rankings) for scores in found.questions}
    assert sizes == {"expression": (2, 4, 6), "identity": (1, 4, 4), "overall": (1, 4, 4)}
    by_rater = {Path(row.file).stem: (row.rankings, row.half, row.asked) for row in found.raters}
    assert by_rater == {"whole": (12, 0, 12), "half": (2, 1, 12)}
    rank = {row.method: row.mean_rank.value for row in found.questions[0].methods}
    assert rank[METHODS[0]] == pytest.approx((4 * 1 + 2 * 3) / 6)
    assert found.questions[0].agreement is not None and found.questions[0].agreement.cases == 2
    assert found.questions[1].agreement is None
    text = (tmp_path / "out" / "table.md").read_text()
    assert "2 raters: 1 answered everything, 1 a part, which counts" in text
    assert "Identity: agreement cannot be told: no case was ranked by two raters" in text


def test_a_question_that_nobody_answered_is_said_to_be_unanswered(built: Folder, tmp_path: Path) -> None:
    folder, study = built
    write(tmp_path / "in", "1", answers(study, 1, {"overall": METHODS}))
    found = score_study(folder, [tmp_path / "in"], tmp_path / "out")
    assert found.unanswered == ("expression", "identity")
    assert [row.mean_rank.interval for row in found.questions[0].methods] == [None] * 3
    assert "- Expression: nobody answered it" in (tmp_path / "out" / "table.md").read_text()


def test_every_file_that_cannot_be_used_is_named_with_its_reason_and_the_others_count(
    built: Folder, tmp_path: Path
) -> None:
    folder, study = built
    good = answers(study, 1, same(METHODS))
    first = study.cases[0].id
    twice = {first: {"overall": ["a", "a", "b"]}}
    bad: dict[str, tuple[Any, str]] = {
        "cut": (json.dumps(good)[:200], "not JSON"),
        "deep": ("[" * 100_000, "not JSON"),
        "list": ([good], "not an answer file"),
        "other": ({**good, "study": "0" * 16}, f"answers of the study '{'0' * 16}', this one is '{study.id}'"),
        "schema": ({**good, "schema": 2}, "schema: Input should be 1"),
        "rater": ({**good, "rater": EVIL}, "rater: String should match pattern"),
        "more": ({**good, "extra": 1}, "extra: Extra inputs are not permitted"),
        "time": ({**good, "saved": "yesterday"}, "saved: Input should be a valid datetime"),
        "case": ({**good, "answers": {"c99": {}}}, "answers.c99: the study has no such case"),
        "question": ({**good, "answers": {first: {"beauty": []}}}, f"answers.{first}.beauty: no such question"),
        "twice": ({**good, "answers": twice}, f"answers.{first}.overall: a, a, b; expected a, b, c, each at most once"),
        "letter": ({**good, "answers": {first: {"overall": ["z"]}}}, f"answers.{first}.overall: z; expected a, b, c"),
        "empty": ({**good, "answers": {}}, "holds no finished ranking"),
        "numbers": ({**good, "answers": {first: {"overall": [1, 2, 3]}}}, "Input should be a valid string; "),
        "large": (" " * (9 << 20), "9437184 bytes; an answer file has a few kilobytes"),
    }
    for name, (values, _) in bad.items():
        write(tmp_path / "in", name, values)
    (tmp_path / "in" / "bytes.json").write_bytes(b"\xff\xfe\x00")
    write(tmp_path / "in", "good", good)
    found = score_study(folder, [tmp_path / "in"], tmp_path / "out")
    told = {Path(file.file).stem: file.reason for file in found.left_out}
    assert told.keys() == {*bad, "bytes"} and "not a text in UTF-8" in told["bytes"]
    assert {name: told[name] for name, (_, says) in bad.items() if says not in told[name]} == {}
    assert [Path(row.file).stem for row in found.raters] == ["good"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert all(f"left out: {file.file}: {file.reason}" in table for file in found.left_out)


def test_of_one_raters_files_the_last_one_counts_in_whatever_order_they_are_given(
    built: Folder, tmp_path: Path
) -> None:
    folder, study = built
    early = write(tmp_path, "early", answers(study, 1, same(METHODS[::-1]), cases=1))
    late = write(tmp_path, "late", answers(study, 1, same(METHODS), saved="2026-01-02T05:00:00.000+01:00"))
    assert json.loads(early.read_text())["saved"] < "2026-01-02T04"
    later = write(tmp_path, "later", answers(study, 1, same(METHODS), saved="2026-01-02T03:59:00.000Z"))
    for files in ([early, late, later], [later, late, early], [late, early, later, later]):
        found = score_study(folder, files, tmp_path / "out")
        assert [row.file for row in found.raters] == [str(late)], "04:00 UTC is the last"
        assert {file.file for file in found.left_out} == {str(early), str(later)}
        assert all("the same rater as" in file.reason for file in found.left_out)


def test_names_of_raters_and_methods_are_shown_and_never_run(built: Folder, tmp_path: Path) -> None:
    folder, study = built
    write(tmp_path / "in", "1", answers(study, 1, same(METHODS), name=EVIL))
    write(tmp_path / "in", EVIL.replace("/", ""), "{")
    score_study(folder, [tmp_path / "in"], tmp_path / "out")
    page = (tmp_path / "out" / "table.html").read_text()
    assert "<img" not in page and page.count("&lt;img src=x onerror=alert(1)&gt;") == 2


def test_intervals_get_narrower_with_raters_and_a_hidden_favourite_is_found(built: Folder, tmp_path: Path) -> None:
    folder, study = built
    draw = random.Random(1)
    for rater in range(24):
        order = list(METHODS)
        draw.shuffle(order)
        if draw.random() < 0.7:  # most like the second method best, the rest by chance
            order.sort(key=lambda method: method != METHODS[1])
        write(tmp_path / "all", f"{rater:02}", answers(study, rater, same(tuple(order))))
    files = sorted((tmp_path / "all").iterdir())
    widths = []
    for count in (6, 24):
        found = score_study(folder, files[:count], tmp_path / "out").questions[0]
        low, high = found.methods[-1].mean_rank.interval or (0, 9)
        widths.append(high - low)
    assert widths[1] < widths[0]
    assert found.methods[0].method == METHODS[1]
    assert {win.choice for win in found.wins if win.ours == METHODS[1]} == {"preferred"}


def test_what_is_no_study_no_place_or_no_answer_is_said_in_one_line(built: Folder, tmp_path: Path) -> None:
    folder, study = built
    path = write(tmp_path, "empty", answers(study, 1, {}))
    with pytest.raises(ValueError, match=r"not one answer file can be used:\n.*empty\.json: holds no finished ranking"):
        score_study(folder, [path], tmp_path / "out")
    with pytest.raises(ValueError, match=r"no such file or folder: .*nowhere"):
        score_study(folder, [tmp_path / "nowhere", path], tmp_path / "out")
    with pytest.raises(ValueError, match=r"is no study: it has no study\.json"):
        score_study(tmp_path, [path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_table_and_what_was_left_out(
    built: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, study = built
    good, bad = write(tmp_path, "good", answers(study, 1, same(METHODS))), write(tmp_path, "bad", "{")
    words = ["study", "score", str(good), str(bad), "--study", str(folder), "--output", str(tmp_path / "out")]
    assert app(words, result_action="return_value") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"left out: {bad}: not JSON") and "# User study: 3 methods, 1 rater" in said


def test_the_schema_describes_every_file(built: Folder, tmp_path: Path) -> None:
    folder, study = built
    path = Path(__file__).resolve().parents[3] / "datasets" / "emojibench" / "schema.yaml"
    schema = yaml.safe_load(path.read_text())
    assert list(schema["study/study.json"]["keys"]) == list(Study.model_json_schema()["properties"])
    assert json.loads((folder / STUDY).read_text()).keys() == schema["study/study.json"]["keys"].keys()
    described = schema["answers-<study>-<rater>.json"]["keys"]
    assert list(described) == list(Answers.model_json_schema()["properties"]) == list(answers(study, 1, {}))
    write(tmp_path / "in", "1", answers(study, 1, same(METHODS)))
    score_study(folder, [tmp_path / "in"], tmp_path / "out")
    for name in ("table.csv", "rankings.csv"):
        with (tmp_path / "out" / name).open(newline="") as handle:
            assert next(csv.reader(handle)) == schema[f"preferences/{name}"]["columns"]
