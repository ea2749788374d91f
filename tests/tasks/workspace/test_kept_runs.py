"""Every run of a work folder is remembered: also a cached one, one that failed, and one that was killed."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.cli import app
from fye_model.config import Runtime
from tasks.engine.items import Nothing, Outcome, StageResult
from tasks.engine.store import Store
from tasks.workspace.kept_runs import kept_runs
from tasks.workspace.run import Run, recorded, write_summary
from tasks.workspace.summary import Results
from tests.debug import DEBUG
from tests.tasks.engine.test_device import ASSET


def a_run(work: Path, fresh: int) -> Run:
    """One stage of two items, of which so many were made."""
    run = Run(Store(work), DEBUG, Runtime(workers=0), ASSET)
    outcomes = [Outcome(name, name, name, f"items/clips/{name}", {}, Nothing()) for name in ("a", "b")]
    run.results.append(StageResult("clips", outcomes, "d", 1.0, 1.0, fresh, "Completed", "stages/clips/k.parquet"))
    return run


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """A work folder with four runs: the first, a cached one, one that failed, one that was killed."""
    folder = tmp_path / "work"
    for fresh in (2, 0):
        with recorded(run := a_run(folder, fresh), "retrain"):
            write_summary(run, "retrain", Results(metrics={"l1": 0.05}, selected_checkpoint="last"))
    with pytest.raises(RuntimeError), recorded(a_run(folder, 1), "refresh"):
        raise RuntimeError("no more\nof it")
    killed = recorded(a_run(folder, 0), "capture")
    killed.__enter__()
    yield folder
    del killed  # only now: who lets go of it ends the run


def printed(*words: str) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert app(list(words), result_action="return_value") == 0
    return text.getvalue()


def test_a_later_run_takes_nothing_from_an_earlier_one(work: Path) -> None:
    first, cached, failed, killed = kept_runs(Store(work))
    assert [run.stages[0].computed for run in (first, cached, failed)] == [2, 0, 1]
    assert first.metrics == {"l1": 0.05} and first.completed and first.manifests == ("stages/clips/k.parquet",)
    assert (failed.status, failed.error, failed.ended) == ("Failed", "RuntimeError: no more\nof it", True)
    assert (killed.flow, killed.ended, killed.completed) == ("capture", False, False)
    assert first.started <= killed.started and first.name < killed.name


def test_an_interrupted_run_has_an_end(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), recorded(a_run(tmp_path, 1), "refresh"):
        raise KeyboardInterrupt
    (run,) = kept_runs(Store(tmp_path))
    assert (run.status, run.ended) == ("Interrupted", True)
    assert not (tmp_path / "summary.json").exists()


def test_the_history_is_a_table_json_and_parquet(work: Path, tmp_path: Path) -> None:
    head, *lines = printed("history", "--work", str(work)).splitlines()
    assert head.startswith("started") and len(lines) == 5
    assert "0.050" in lines[0] and "RuntimeError: no more" in lines[3] and "no end" in lines[4]
    output = tmp_path / "history.parquet"
    rows = json.loads(printed("history", "--work", str(work), "--json", "--output", str(output), "--last", "2"))
    assert [row["flow"] for row in rows] == ["refresh", "capture"]
    assert pq.read_table(output).to_pylist() == rows


def test_a_damaged_file_costs_its_run_and_what_another_version_adds_costs_nothing(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, *_ = sorted((work / "runs").iterdir())
    first.write_text("{")
    second.write_text(json.dumps({**json.loads(second.read_text()), "schema": 9, "colour": "red"}))
    assert [run.flow for run in kept_runs(Store(work))] == ["retrain", "refresh", "capture"]
    assert f"runs/{first.name} is damaged" in caplog.text
    told = json.loads(second.read_text())
    second.write_text(json.dumps({**told, "manifests": ["../../outside.parquet"]}))
    assert len(kept_runs(Store(work))) == 2, "a file that names places outside is none of ours"
