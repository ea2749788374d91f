"""What nobody needs is found and removed; what a run used, made unfinished, or is named anywhere stays."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from fye_model.config import Runtime
from fye_model.files import _temporary
from tasks.engine.items import StageResult
from tasks.engine.stage import _Job, _work
from tasks.engine.store import Store
from tasks.jobs.clean import LOCK, OUTPUT, PROGRESS, RECORD, TABLE, TEMPORARY, Leftover, clean, find_leftovers
from tasks.workspace.holding import held_by_run, held_for_cleaning, live_runs
from tasks.workspace.run import Run, recorded, write_summary
from tasks.workspace.summary import Results
from tests.debug import DEBUG
from tests.tasks.engine.test_device import ASSET
from tests.tasks.support import LENGTH, LengthConfig, calls, text_items


def run_on(work: Path, fails: bool = False, flow: str = "retrain", **texts: str) -> list[str]:
    """A run of one stage over texts, as a flow leaves it in the store but for Prefect; the items' folders."""
    run = Run(Store(work), DEBUG, Runtime(workers=0), ASSET)
    with contextlib.suppress(RuntimeError), recorded(run, flow):
        job = _Job(LENGTH, run.store, run.runtime, text_items(work.parent, **texts), LengthConfig(), None, run.device)
        pairs = zip(job.items, job.keys, strict=True)
        found = {at: done for at, (item, key) in enumerate(pairs) if (done := job.receipts.find(item, key))}
        missing = [at for at in range(len(job.items)) if at not in found]
        found |= {missing[position]: outcome for position, outcome in _work(job, missing)}
        if fails:
            raise RuntimeError("in the middle of the stage")
        outcomes = [found[at] for at in range(len(job.items))]
        receipt = job.receipts.write_stage(job.key, outcomes, len(missing))
        run.store.write_bytes(f"results/{LENGTH.name}-{job.key}", b"{}")
        run.results.append(StageResult(LENGTH.name, outcomes, "", 0, 0, len(missing), "Completed", receipt.manifest))
        write_summary(run, flow, Results())
    return [outcome.folder for outcome in found.values()]


def paths(found: list[Leftover], kind: str) -> list[str]:
    return [one.path for one in found if one.kind == kind]


def test_what_only_earlier_runs_used_goes_and_the_last_run_is_still_done(tmp_path: Path) -> None:
    work = tmp_path / "work"
    old, _ = run_on(work, a="aaaa", b="bb")
    run_on(work, b="bb", c="bad text")
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*")}
    found = find_leftovers(Store(work))
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*")} == before, "looking changes nothing"
    assert paths(found, OUTPUT) == [old] and found[-1].kind == OUTPUT
    assert [len(paths(found, kind)) for kind in (TABLE, RECORD)] == [1, 1]
    size = sum(file.stat().st_size for file in (work / old).rglob("*") if file.is_file())
    assert found[-1].bytes == size > 0
    assert paths(find_leftovers(Store(work), keep=2), OUTPUT) == [], "two different runs, both kept"
    assert clean(Store(work)) == found
    assert not (work / old).exists() and find_leftovers(Store(work)) == []
    run_on(work, b="bb", c="bad text")
    assert (calls(tmp_path, "b"), calls(tmp_path, "c")) == (1, 1), "both were found done again"
    run_on(work, a="aaaa")
    assert calls(tmp_path, "a") == 2, "what went is made again"


def test_flows_do_not_remove_each_others_outputs_and_cached_runs_do_not_count(tmp_path: Path) -> None:
    work = tmp_path / "work"
    run_on(work, flow="retrain", a="aaaa")
    for _ in range(3):
        run_on(work, flow="refresh", b="bb")
    assert find_leftovers(Store(work)) == []


def test_what_an_unfinished_run_made_stays_until_one_of_its_kind_has_ended(tmp_path: Path) -> None:
    work = tmp_path / "work"
    run_on(work, a="aaaa")
    (made,) = run_on(work, fails=True, b="bb")
    assert (work / made).is_dir() and paths(find_leftovers(Store(work)), OUTPUT) == []
    run_on(work, flow="refresh", c="c")
    assert paths(find_leftovers(Store(work)), OUTPUT) == [], "another flow's end says nothing of it"
    run_on(work, a="aaaa")
    assert paths(find_leftovers(Store(work)), OUTPUT) == [made]


def test_what_a_file_or_link_of_the_work_folder_names_stays_and_so_do_stages_of_which_nothing_is_known(
    tmp_path: Path,
) -> None:
    work = tmp_path / "work"
    named, linked = run_on(work, a="aaaa", b="bb")
    run_on(work, c="c")
    assert paths(find_leftovers(Store(work)), OUTPUT) == sorted([named, linked])
    (work / "history.json").write_text(f'{{"files": ["{named}/deep/length.txt"]}}')
    (work / "model").symlink_to(f"{linked}/deep")
    assert paths(find_leftovers(Store(work)), OUTPUT) == []
    (work / "model").unlink()
    assert paths(find_leftovers(Store(work)), OUTPUT) == [linked]
    for file in (work / "runs").iterdir():
        file.unlink()
    assert find_leftovers(Store(work)) == [], "a work folder from before runs were remembered"


def test_a_run_whose_table_is_damaged_has_everything_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    work = tmp_path / "work"
    run_on(work, a="aaaa")
    run_on(work, b="bb")
    newest = max((work / "stages").glob("*/*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(b"PAR1")
    assert find_leftovers(Store(work)) == [] and "everything of test_length is kept" in caplog.text


def test_leftovers_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (done,) = run_on(work, a="aaaa")
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    ours = _temporary(work / "summary.json", "part")
    theirs = ours.with_name(ours.name.replace(f"-{os.getpid()}.", f"-{gone.stdout.strip()}."))
    progress = work / "partial" / LENGTH.name
    (progress / f"{Path(done).name}.tensorboard").mkdir(parents=True)
    for folder in (progress / Path(done).name, progress / ("0" * 32)):
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"123")
    for file in (ours, theirs, progress / "held.lock", progress / "free.lock"):
        file.touch()
    with FileLock(progress / "held.lock"):
        found = clean(Store(work))
    assert paths(found, TEMPORARY) == [theirs.name] and ours.exists()
    assert paths(found, LOCK) == [f"partial/{LENGTH.name}/free.lock"] and (progress / "held.lock").exists()
    assert [Path(path).name for path in paths(found, PROGRESS)] == ["0" * 32, Path(done).name]
    assert [one.bytes for one in found if one.kind == PROGRESS] == [3, 3]


def test_nothing_is_removed_while_a_run_is_there_and_no_run_begins_meanwhile(tmp_path: Path) -> None:
    store = Store(tmp_path / "work")
    with held_by_run(store, "one"):
        assert live_runs(store) == ["one"]
        with pytest.raises(ValueError, match="held by 1 run"):
            clean(store)
    assert clean(store) == [] and live_runs(store) == []
    with held_for_cleaning(store), pytest.raises(TimeoutError, match="is cleaned up"), held_for_cleaning(store):
        pass
    with pytest.raises(ValueError, match="no folder of this machine"):
        find_leftovers(Store("memory://gc"))
