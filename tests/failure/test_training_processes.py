"""Training's own process: it ends well, fails, is killed or is told to stop; real processes and real signals."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fye_model.training.job import launch_command
from tasks.train import RESTARTS, TrainingFailed, supervise

ROOT = Path(__file__).resolve().parents[2]


def script(folder: Path, text: str) -> list[str]:
    """A command that runs Python text which can count its own starts."""
    (folder / "training.py").write_text(
        "import os, signal, sys, time\n"
        f"starts = open({str(folder / 'starts')!r}, 'a'); starts.write('x'); starts.close()\n"
        f"start = os.path.getsize({str(folder / 'starts')!r})\n" + text
    )
    return [sys.executable, str(folder / "training.py")]


def starts(folder: Path) -> int:
    return (folder / "starts").stat().st_size


def test_its_lines_reach_the_log_and_it_ends_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tasks.train"):
        supervise(script(tmp_path, "print('step 1/2'); print('step 2/2', file=sys.stderr)"))
    assert sorted(record.getMessage() for record in caplog.records) == ["step 1/2", "step 2/2"]
    assert starts(tmp_path) == 1


def test_an_error_is_told_in_its_own_words_and_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed) as caught:
        supervise(script(tmp_path, "print('step 1'); print('error: the index is empty', file=sys.stderr); sys.exit(1)"))
    assert str(caught.value) == "the index is empty"
    assert starts(tmp_path) == 1


def test_a_crash_without_a_word_shows_the_last_lines(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"exit code 1:\n(.*\n)+ZeroDivisionError: division by zero"):
        supervise(script(tmp_path, "print('step 1'); 1 / 0"))
    assert starts(tmp_path) == 1


@pytest.mark.slow
def test_the_real_training_process_names_what_is_wrong_with_its_job(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    with pytest.raises(TrainingFailed, match=r"training job .*job\.json: .*stage: Field required"):
        supervise([sys.executable, "-m", "fye_model.training", "--job", str(tmp_path / "job.json")])


def test_a_killed_process_is_started_again_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = f"if start <= {RESTARTS}: os.kill(os.getpid(), signal.SIGKILL)\nprint('resumed and finished')"
    with caplog.at_level(logging.INFO, "tasks.train"):
        supervise(script(tmp_path, text))
    assert starts(tmp_path) == RESTARTS + 1
    assert caplog.messages.count("training was killed by signal 9 (SIGKILL); it is started again and resumes") == 2
    assert caplog.messages[-1] == "resumed and finished"


def test_a_process_that_is_killed_every_time_ends_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed) as caught:
        supervise(script(tmp_path, "print('step 7', flush=True); os.kill(os.getpid(), signal.SIGKILL)"))
    assert starts(tmp_path) == RESTARTS + 1
    message = str(caught.value)
    assert message.startswith(f"training was killed by signal 9 (SIGKILL) {RESTARTS + 1} times")
    for advice in ("memory", "accumulate", "gradient_checkpointing", "batch_size", "frames", "clips.size", "step 7"):
        assert advice in message, advice


@pytest.mark.slow
def test_a_killed_process_of_torchrun_counts_as_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = script(
        tmp_path, "if start <= 2: time.sleep(int(os.environ['RANK']) * 60); os.kill(os.getpid(), signal.SIGKILL)"
    )
    torchrun = [*launch_command(Path("job.json"), "torchrun", 2)[:-4], command[-1]]  # as a training is launched
    with caplog.at_level(logging.WARNING, "tasks.train"):
        supervise(torchrun)
    assert starts(tmp_path) == 4
    assert caplog.messages == ["training was killed by signal 9 (SIGKILL); it is started again and resumes"]


RAY_BEFORE = """
from tasks.engine.pool import run_pool, shutdown
from tests.tasks.support import job_handler
assert list(run_pool(job_handler, [("say", "a")], workers=1, timeout_s=60, attempts=1)) == [(0, "A")]
shutdown()
"""


@pytest.mark.parametrize("before", ["", pytest.param(RAY_BEFORE, marks=pytest.mark.slow)], ids=["alone", "after Ray"])
def test_sigterm_is_passed_on_and_the_last_checkpoint_waited_for(tmp_path: Path, before: str) -> None:
    """As a scheduler stops a run: this process alone gets the signal; training saves, says a lot, and ends."""
    text = f"""
def save(*_):
    print('x' * 200_000, flush=True)  # more than a pipe holds
    time.sleep(1)
    open({str(tmp_path / "checkpoint")!r}, 'w').close()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print('training', flush=True)
time.sleep(60)
"""
    command = script(tmp_path, text)
    process = subprocess.Popen(
        [sys.executable, "-c", f"{before}\nfrom tasks.train import supervise\nsupervise({command!r})"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "starts").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)  # it sets its handler
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert (tmp_path / "checkpoint").exists() and starts(tmp_path) == 1
    finally:
        process.kill()


def test_a_killed_parent_leaves_no_training_behind(tmp_path: Path) -> None:
    text = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    command = script(tmp_path, text)
    process = subprocess.Popen(
        [sys.executable, "-c", f"from tasks.train import supervise\nsupervise({command!r})"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    number = (tmp_path / "pid").read_text()
    while Path(f"/proc/{number}/stat").exists():
        if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        assert time.monotonic() < deadline, "training outlived the process that started it"
        time.sleep(0.05)
