"""What a command line makes of `--set`: the recipe's settings and the runtime's, apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.options import runtime_and_recipe
from fye_model.training.job import launch_command

ROOT = Path(__file__).resolve().parents[2]
WRONG = """
import sys
from flows.cli import app
for words in (["retrain"], ["ablate"], ["refresh"], ["capture", ".", "--subject", "anna"], ["pack", "out"]):
    try:
        app([*words, "--recipe", "nothere"], result_action="return_value")
    except ValueError as error:
        assert "no recipe named" in str(error), error
    else:
        raise AssertionError(words)
    assert "prefect" not in sys.modules, words
for words in (["retrain"], ["ablate"], ["refresh"], ["retrain-weekly"], ["pack", "out"], ["evaluate", "--away", "out"]):
    try:
        app([*words, "--recipe", "debug", "--videos", "nothere", "--work", "work"], result_action="return_value")
    except ValueError as error:
        assert "nothere does not exist" in str(error) or words[0] == "evaluate", error
    else:
        raise AssertionError(words)
"""


def test_settings_of_the_runtime_are_taken_from_set_and_the_others_left() -> None:
    runtime, rest = runtime_and_recipe(["train.stage1.steps=2", "runtime.loader_workers=3"], workers=4, device="cpu")
    assert (runtime.loader_workers, runtime.workers, runtime.device) == (3, 4, "cpu")
    assert rest == ["train.stage1.steps=2"]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("runtime.loader_worker=3", "loader_worker: unknown key .*did you mean 'loader_workers'"),
        ("runtime.loader_workers=-1", "loader_workers: .*greater than or equal to 0"),
        ("runtime.workers=1", "give --workers instead"),
        ("runtime.loader_workers", "expected KEY.PATH=VALUE"),
    ],
)
def test_a_wrong_setting_of_the_runtime_is_named(setting: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        runtime_and_recipe([setting], workers=2)


def test_a_slip_of_the_pen_does_not_wait_for_prefect(tmp_path: Path) -> None:
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", WRONG]
    done = subprocess.run(words, env=there, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", ["promote", "rollback", "promoted", "retry", "history", "verify", "gc", "review --take decisions.json"]
)
def test_what_looks_at_a_work_folder_makes_none_where_its_name_is_mistyped(command: str, tmp_path: Path) -> None:
    from flows.cli import app

    with pytest.raises(ValueError, match=r"there is no work folder .*/nope; give the one of a run with --work"):
        app([*command.split(), "--work", str(tmp_path / "nope")], result_action="return_value")
    assert not list(tmp_path.iterdir())


def test_several_processes_train_under_torchrun_without_being_told() -> None:
    runtime, _ = runtime_and_recipe([], processes=2)
    command = launch_command(Path("job.json"), runtime.launcher, runtime.processes)
    assert "torch.distributed.run" in command and "--nproc-per-node=2" in command
