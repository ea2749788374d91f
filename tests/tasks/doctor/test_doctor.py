"""The doctor finds what is wrong with a machine, says how to put it right, and ends only what is ours and left over."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.doctor import cards, places
from tasks.doctor.cards import card_checks, has_kernels
from tasks.doctor.check import Check, check_lines, verdict
from tasks.doctor.packages import package_checks, python_check
from tasks.doctor.places import disk_checks, store_checks
from tasks.doctor.processes import Process, end, orphans
from tasks.jobs.doctor import landmark_check
from tests.documents import ROOT
from tests.skips import NO_MOUNT, can_mount

SMI = """#!/bin/sh
echo 'NVIDIA H100 80GB HBM3, 550.54, 9.0, 81559, {used}'
"""


def states(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.state for check in checks}


def test_packages_of_other_versions_than_were_tested_are_named(tmp_path: Path) -> None:
    assert python_check().state == "ok"
    pins = tmp_path / "constraints.txt"
    pins.write_text("# tested\nnumpy==0.1\nnot-installed-here==1.0\n")
    (check,) = package_checks(pins)
    assert check.state == "warn" and "numpy" in check.found and "tested 0.1" in check.found
    assert "not-installed-here" not in check.found and "constraints.txt" in check.fix


def test_code_runs_on_later_cards_of_its_kind_and_what_is_translated_on_any_later_one() -> None:
    built = ["sm_80", "sm_90", "compute_90"]
    assert all(has_kernels(capability, built) for capability in [(8, 0), (8, 6), (9, 0), (10, 0), (12, 0)])
    assert not any(has_kernels(capability, built) for capability in [(7, 5), (6, 1)])
    assert not has_kernels((12, 0), ["sm_90a"]) and has_kernels((9, 0), ["sm_90a"])


def test_a_card_that_pytorch_was_not_built_for_and_a_driver_that_does_not_answer_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if torch.version.cuda is not None:
        pytest.skip("PyTorch is built for CUDA here")
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program.write_text(SMI.format(used=80000))
    program.chmod(0o755)
    card, build = card_checks()
    assert (card.state, build.state) == ("warn", "warn") and "2 of 80 GiB free" in card.found
    assert "stays unused" in build.found and "download.pytorch.org" in build.fix
    program.write_text(SMI.format(used=0))
    assert states(list(card_checks())) == {"GPU": "ok", "PyTorch": "warn"}
    program.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n")
    (broken,) = card_checks()
    assert broken.state == "bad" and "Driver/library version mismatch" in broken.found
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(cards, "_ASK_S", 0.2)
    (silent,) = card_checks()
    assert silent.state == "bad" and "has not answered" in silent.found


def test_a_wrong_landmark_model_is_bad_and_one_that_is_not_here_is_worth_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FYE_ASSETS", str(tmp_path))
    monkeypatch.setenv("FYE_CACHE", str(tmp_path / "cache"))
    assert landmark_check().state == "warn"
    (tmp_path / "face_landmarker.task").write_bytes(b"another file")
    check = landmark_check()
    assert check.state == "bad" and "sha256" in check.found


def test_a_place_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    work = tmp_path / "not" / "yet"
    assert states(list(store_checks(str(work)))) == {"store": "ok", "clock": "ok"}
    assert list(tmp_path.iterdir()) == [], "not even the work folder is made"
    assert states(list(store_checks("memory://doctor"))) == {"store": "ok"}
    (bad,) = store_checks("nosuch://doctor")
    assert bad.state == "bad" and "nosuch" in bad.found
    if os.getuid():
        tmp_path.chmod(0)
        (hidden,) = store_checks(str(work))
        assert hidden.state == "bad" and "Permission" in hidden.found
        tmp_path.chmod(0o500)
        (closed,) = store_checks(str(work))
        assert closed.state == "bad" and "Permission" in closed.found


def test_little_room_is_told_by_how_little_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for least, enough, state in ((0, 0, "ok"), (0, 1 << 60, "warn"), (1 << 60, 1 << 60, "bad")):
        monkeypatch.setattr(places, "LEAST", least)
        monkeypatch.setattr(places, "ENOUGH", enough)
        (check,) = (one for one in disk_checks({"this": tmp_path, "that": tmp_path}) if one.name == "disk")
        assert check.state == state and check.found.endswith("free for this, that")


def test_a_run_from_the_future_tells_of_a_wrong_clock(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    told = '{"name": "a", "flow": "retrain", "status": "Completed", "recipe": "demo", "seconds": 1, "started": "%s"}'
    (tmp_path / "runs" / "a.json").write_text(told % "2999-01-01T00:00:00+00:00")
    _, clock = store_checks(str(tmp_path))
    assert clock.state == "warn" and "in the future" in clock.found


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found on Linux alone")
def test_only_processes_of_ours_whose_run_is_gone_are_found_and_ended(tmp_path: Path) -> None:
    """Four processes: training whose parent is gone, the same with its parent, another program, one of another id."""
    job = tmp_path / "store" / "partial" / "train_stage1" / "k.job" / "job.json"
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)", "-m", "fye_model.training", "--job"]
    quiet = "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"
    start = f"import subprocess, sys; print(subprocess.Popen(sys.argv[1:], {quiet}).pid)"
    left, other = (
        int(subprocess.run([sys.executable, "-c", start, *sleeps, path], capture_output=True, text=True).stdout)
        for path in (str(job), str(tmp_path / "by-hand.json"))
    )
    child = subprocess.Popen([*sleeps, str(job)])
    try:
        deadline = time.monotonic() + 5
        while not (mine := [one for one in orphans() if str(tmp_path) in one.command]) and time.monotonic() < deadline:
            time.sleep(0.05)
        (found,) = mine
        assert (found.id, found.what) == (left, "training")
        assert end(Process(child.pid, 1, 0, "training", "")) and child.poll() is None, "another one of that id"
        assert end(found) and [one for one in orphans() if str(tmp_path) in one.command] == []
        assert Path(f"/proc/{other}").exists() and child.poll() is None
    finally:
        child.kill()
        child.wait()
        for process in (left, other):
            subprocess.run(["kill", "-9", str(process)], capture_output=True)


@pytest.mark.skipif(not can_mount(), reason=NO_MOUNT)
@pytest.mark.parametrize(("first", "found"), [("fye", "[]"), ("init", "['training']")])
def test_what_a_run_started_that_is_a_containers_first_process_is_not_left_over(
    first: str, found: str, tmp_path: Path
) -> None:
    sleeps = [
        sys.executable,
        "-c",
        "import time; time.sleep(60)",
        "-m",
        "fye_model.training",
        "--job",
        "a.job/job.json",
    ]
    look = "from tasks.doctor.processes import orphans; print([one.what for one in orphans()])"
    (tmp_path / first).write_text(
        f"#!{sys.executable}\nimport subprocess, sys\nchild = subprocess.Popen({sleeps})\n"
        f"subprocess.run([sys.executable, '-c', {look!r}])\nchild.kill()\n"
    )
    (tmp_path / first).chmod(0o755)
    words = ["unshare", "--pid", "--fork", "--mount-proc", str(tmp_path / first)]
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=there, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == found, done.stderr


def test_the_lines_say_what_to_do_and_the_verdict_what_it_comes_to() -> None:
    good = Check(name="store", state="ok", found="works")
    warned = Check(name="disk", state="warn", found="3 GiB free", fix="free some")
    bad = Check(name="Ray", state="bad", found="does not start", fix="more memory")
    assert list(check_lines([good, warned])) == [
        "ok    store           works",
        "warn  disk            3 GiB free",
        "                      → free some",
    ]
    assert verdict([good]).startswith("Everything") and "worth a look: disk" in verdict([good, warned])
    assert verdict([bad, warned]) == "A run would fail here: Ray."
