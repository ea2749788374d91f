"""The command line against bad files, a full disk and SIGKILL: real processes, real signals, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.faces.landmarker import LandmarkerAsset
from tests.tasks.videos import encode, numbered

ROOT = Path(__file__).resolve().parents[2]
FYE = str(Path(sys.executable).with_name("fye"))

pytestmark = [pytest.mark.slow, pytest.mark.prefect]


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory,
    landmarker_asset: LandmarkerAsset,
    prefect_server: str,
    prefect_tables: Callable[[Path], None],
) -> dict[str, str]:
    """Of a command that starts its own Prefect server, with a home of its own, as on anybody's machine.

    `prefect_server` was there before, and has left the tables for it.
    """
    home = tmp_path_factory.mktemp("prefect")
    prefect_tables(home / "prefect.db")
    outside = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return {**outside, "PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT)}  # this checkout, whatever is installed


@pytest.fixture(scope="module")
def environment(alone: dict[str, str], prefect_server: str) -> dict[str, str]:
    """Of a command that finds a server running, where it does not matter whose it is: starting one takes seconds."""
    return {**alone, "PREFECT_API_URL": prefect_server}


@pytest.fixture(scope="module")
def videos(sample_clips: list[Path]) -> Path:
    return sample_clips[0].parent


def refresh(
    environment: dict[str, str], videos: Path, work: Path, *more: str, workers: int = 1
) -> subprocess.CompletedProcess[str]:
    words = ["refresh", "--videos", str(videos), "--work", str(work), "--recipe", "demo", "--workers", str(workers)]
    return subprocess.run([FYE, *words, *more], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)


def kept(work: Path) -> dict[str, Any]:
    """Content of every item that was made: what a resumed run must have in common with an undisturbed one."""
    receipts = sorted((work / "items").glob("*/*/receipt.json"))
    return {str(path.relative_to(work)): json.loads(path.read_text())["files"] for path in receipts}


def test_each_bad_file_has_its_reason_and_the_good_ones_go_through(
    environment: dict[str, str], videos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    good, other = sorted(videos.glob("*.mp4"))
    (folder / "good.mp4").write_bytes(good.read_bytes())
    (folder / "zero.mp4").touch()
    (folder / "text.mp4").write_text("not a video\n" * 50)
    (folder / "cut.mp4").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    encode(folder / "single.mp4", numbered(1))
    encode(folder / "faceless.mp4", numbered(40, 128, 96))
    sound_only(folder / "sound.mp4")
    # as other systems and accidents leave them; the first is a good video under a name that is not UTF-8
    empty_box = b"\0\0\0\x08free"
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4")).write_bytes(other.read_bytes() + empty_box)
    Path(os.fsdecode(os.fsencode(folder) + b"/b\xe4d.mp4")).write_text("no video either\n" * 50)
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\ngood.mp4\n")
    (folder / "._good.mp4").write_bytes(b"\0\5\x16\7" * 20)
    os.mkfifo(folder / "pipe.mp4")
    (folder / "device.mp4").symlink_to("/dev/zero")
    (folder / "dangling.mp4").symlink_to("nowhere.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "deeper").mkdir()
    (folder / "deeper" / "up").symlink_to("..")
    done = refresh(environment, folder, tmp_path / "work")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "CompletedWithQuarantine" in done.stdout
    assert "2 of 2 clips kept" in done.stdout
    assert all(f"new clip     {name}-000" in done.stdout for name in ("good", r"caf\xe9"))
    rows = {row["name"]: row for row in pq.read_table(tmp_path / "work" / "quarantine.parquet").to_pylist()}
    assert {clip: row["reason"] for clip, row in rows.items()} == {
        "zero": "zero_bytes",
        "text": "not_a_video",
        "cut": "truncated",
        "single": "one_frame",
        "faceless": "no_face",
        "sound": "no_video_stream",
        r"b\xe4d": "not_a_video",
        "list": "not_a_video",
        "pipe": "no_file",
        "device": "outside",
        "dangling": "dangling_link",
        "loop": "link_loop",
        "deeper-up": "linked_folder",
    }
    assert all(
        len(row["message"]) > 20 and Path(clip.replace("-", "/")).name in row["message"] for clip, row in rows.items()
    )
    assert json.loads((tmp_path / "work" / "summary.json").read_text())["data"]["kept"] == 2


def test_a_run_that_fails_leaves_the_reasons_behind(environment: dict[str, str], tmp_path: Path) -> None:
    folder, work = tmp_path / "videos", tmp_path / "work"
    folder.mkdir()
    (folder / "text.mp4").write_text("not a video\n" * 50)
    words = ["retrain", "--videos", str(folder), "--work", str(work), "--recipe", "demo", "--workers", "0"]
    done = subprocess.run([FYE, *words], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1 and "fye: no clip is left to train on" in done.stderr
    summary = json.loads((work / "summary.json").read_text())
    assert summary["status"] == "Failed" and "no clip is left" in summary["error"]
    (row,) = pq.read_table(work / "quarantine.parquet").to_pylist()
    assert (row["name"], row["reason"]) == ("text", "not_a_video")


def sound_only(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def test_a_run_killed_in_the_middle_goes_on_to_the_same_result(
    alone: dict[str, str], environment: dict[str, str], videos: Path, tmp_path: Path
) -> None:
    work = tmp_path / "killed"
    words = ["refresh", "--videos", str(videos), "--work", str(work), "--recipe", "demo", "--workers", "1"]
    process = subprocess.Popen(
        [FYE, *words],
        env=alone,
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    deadline = time.monotonic() + 200
    while not list((work / "items").glob("clips/*/receipt.json")):  # one source of two is cut
        assert time.monotonic() < deadline and process.poll() is None, "the run never came to the clips"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in (work / "items").glob("*/*/receipt.json")}
    assert before

    assert refresh(alone, videos, work).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was done is not done again"
    undisturbed = refresh(environment, videos, tmp_path / "undisturbed", "--json", "--quiet", workers=0)
    assert json.loads(undisturbed.stdout)["status"] == "Completed" and " | INFO" not in undisturbed.stderr
    assert kept(work) == kept(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["refresh", "--videos", "{tmp}/absent", "--work", "{tmp}/w"], "does not exist"),
        (
            ["retrain", "--videos", "{tmp}/some", "--recipe", "demo", "--set", "train.stage1.stepz=1"],
            "did you mean 'steps'",
        ),
        (["retrain", "--recipe", "papre"], "expected one of"),
        (["refresh", "--videos", "{tmp}/some", "--work", "{tmp}/file"], "is a file"),
        (["evaluate", "--model", "{tmp}/some", "--videos", "{tmp}/some", "--work", "{tmp}/w"], "no model_index.json"),
        (["refresh", "--videos", "{tmp}/none", "--work", "{tmp}/w"], "no videos in"),
    ],
)
def test_a_wrong_command_ends_with_one_clear_line(
    environment: dict[str, str], tmp_path: Path, words: list[str], says: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "some").mkdir()
    (tmp_path / "none").mkdir()
    (tmp_path / "some" / "a.mp4").touch()
    words = [word.format(tmp=tmp_path) for word in words]
    done = subprocess.run([FYE, *words], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    last = [line for line in done.stderr.splitlines() if line.startswith("fye: ")]
    assert len(last) == 1 and says in last[0], done.stderr[-2000:]
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_run_at_once_with_one_word_and_leaves_no_process(
    alone: dict[str, str], videos: Path, tmp_path: Path
) -> None:
    """As a terminal does it: SIGINT to the whole process group, with Ray and Prefect's server in it."""
    words = ["refresh", "--videos", str(videos), "--work", str(tmp_path / "work"), "--recipe", "demo"]
    process = subprocess.Popen(
        [FYE, *words],
        env={**alone, "FYE_TEST_MARK": str(tmp_path)},
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "clips: 2 items" in line:
            break
    time.sleep(1.5)  # Ray is starting, or at work
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=40)
    assert process.returncode == 130, said
    assert said.count("fye: interrupted") == 1 and "Traceback" not in said and "Connect" not in said, said
    deadline = time.monotonic() + 10
    while marked(str(tmp_path)):
        assert time.monotonic() < deadline, marked(str(tmp_path))
        time.sleep(0.1)


def marked(mark: str) -> list[str]:
    """Command lines of the processes that carry a mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"FYE_TEST_MARK={mark}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
