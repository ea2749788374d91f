"""`fye compare` on the command line: a table, JSON, both as files, and one clear line where it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli import app
from tests.tasks.finished import CLIPS, make_record, write_evaluation


def _run(*words: str | Path) -> int:
    code = app([str(word) for word in ("compare", *words)], result_action="return_value")
    assert isinstance(code, int)
    return code


def test_a_table_is_printed_and_kept_with_its_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_evaluation(tmp_path / "a", [make_record(number, 0.9, 2) for number in range(CLIPS)])
    b = write_evaluation(tmp_path / "b", [make_record(number, 0.1, 9) for number in range(CLIPS)])
    assert _run(a, b, "--output", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("| L1 ↓")]
    assert line.endswith("| better |") and line.count("[") == 3
    kept = (tmp_path / "out" / "comparison.md").read_text()
    assert printed.startswith(kept.rstrip("\n"))
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert _run(a, b, "--json") == 0
    assert json.loads(capsys.readouterr().out) == found
    assert found["schema"] == 1 and found["sections"][0]["rows"][0]["outcome"] == "better"


def test_an_output_that_is_a_file_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ValueError, match=r"--output .*out is a file"):
        _run(tmp_path, tmp_path, "--output", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
