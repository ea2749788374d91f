"""Prefect's server dies in the middle of a run, a run is killed, the machine has a proxy, a server is not to be had."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FYE = str(Path(sys.executable).with_name("fye"))

SCRIPT = """
import os, signal, sys, time
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import flows
from flows.console import hide_tracebacks
from flows.ending import finish_run
from flows.running import running
from flows.server import NoServer, server_told, start_server

here, what = Path(sys.argv[1]), sys.argv[2]
if what == "alone":
    flows.server.RESTARTS = 0
start_server()

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from fye_model.config import Runtime
from tasks.engine.contract import Resources
from tasks.engine.store import Store
from tasks.workspace.run import Run
from tasks.workspace.summary import Results
from tests.debug import DEBUG
from tests.tasks.engine.test_device import ASSET
from tests.tasks.support import LENGTH, text_items

def new_run():
    return Run(Store(here / "store"), DEBUG, Runtime(workers=0), ASSET)

@flow(name="loses-its-server")
def loses_its_server():
    run = new_run()
    with running(run, "first"):
        run.stage(LENGTH, text_items(here, a="aaaa"))
        kill_server()
        run.stage(LENGTH, text_items(here, a="aaaa", b="bb"))
    return "whole"

def kill_server():
    (server,) = [int(p.name) for p in Path("/proc").glob("[0-9]*") if is_server(p)]
    os.kill(server, signal.SIGKILL)

def is_server(process):
    try:
        words = (process / "cmdline").read_text()
        return "uvicorn" in words and f"\\0{os.environ['PREFECT_API_URL'].split(':')[2].split('/')[0]}\\0" in words
    except OSError:
        return False

@flow(name="is-killed")
def is_killed():
    with running(new_run(), "second"):
        (here / "killed").write_text(str(flow_run.id))
        time.sleep(600)

@flow(name="comes-next")
def comes_next():
    with running(new_run(), "third"):
        with get_client(sync_client=True) as client:
            runs = [(here / "killed").read_text(), flow_run.id]
            return [client.read_flow_run(UUID(run)).state.name for run in runs]

@flow(name="goes-on-alone")
def goes_on_alone():
    run = new_run()
    run.stage(LENGTH, text_items(here, a="aaaa"))
    kill_server()
    on_gpu = replace(LENGTH, name="test_whole", resources=Resources(gpus=1, pooled=False))
    run.stage(on_gpu, text_items(here, a="aaaa", b="bb", c="ccc"))
    return finish_run(run, "goes-on-alone", Results())

if what == "alone":
    try:
        with server_told():
            goes_on_alone(return_state=True)
    except NoServer as error:
        print("told:", error, flush=True)
elif what == "first":
    print("first run:", loses_its_server(), flush=True)
    is_killed()
else:
    print("states:", *comes_next(), flush=True)
"""


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    outside = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return {**outside, "PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(ROOT), **more}


def processes_with(setting: str) -> list[str]:
    """Command lines of the processes with this in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if setting.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.prefect
def test_a_run_outlives_its_server_and_a_killed_one_is_marked_by_the_next(tmp_path: Path) -> None:
    """All the time with proxies set that lead nowhere."""
    nowhere = "http://127.0.0.1:9"
    proxies = {name: nowhere for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy")}
    there = environment(tmp_path, **proxies)
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    first = subprocess.Popen(
        [*words, "first"], env=there, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 240
    while not (tmp_path / "killed").exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    said, _ = first.communicate()
    assert "first run: whole" in said, said[-3000:]
    assert said.count("temporary server has ended (exit status -9): it is started again") == 1, said[-3000:]
    deadline = time.monotonic() + 10
    while left := processes_with(f"PREFECT_HOME={tmp_path}"):
        assert time.monotonic() < deadline, f"a killed run's server goes on: {left}"
        time.sleep(0.1)
    look = [FYE, "doctor", "--work", str(tmp_path / "store"), "--json"]
    told = subprocess.run(look, env=there, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    checks = {check["name"]: check for check in json.loads(told.stdout)}
    assert {checks[name]["state"] for name in ("Ray", "Prefect", "store")} == {"ok"}, told.stdout
    assert (
        checks["stale runs"]["state"] == "warn" and (tmp_path / "killed").read_text() in checks["stale runs"]["found"]
    )
    done = subprocess.run(
        [*words, "next"], env=there, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert "states: Crashed Running" in done.stdout, done.stderr[-3000:]
    assert "was killed: Prefect is told that it crashed" in done.stdout + done.stderr
    assert list((tmp_path / "store" / "partial" / "runs").iterdir()) == []


@pytest.mark.slow
@pytest.mark.prefect
def test_a_run_whose_server_is_gone_for_good_goes_on_to_its_end_and_says_who_does_not_know(
    tmp_path: Path, prefect_tables: Callable[[Path], None]
) -> None:
    """Without Prefect's own patience, which is minutes."""
    prefect_tables(tmp_path / "prefect" / "prefect.db")
    there = environment(tmp_path, PREFECT_CLIENT_MAX_RETRIES="0")
    words = [sys.executable, "-c", SCRIPT, str(tmp_path), "alone"]
    done = subprocess.run(words, env=there, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    told = [line for line in done.stdout.splitlines() if line.startswith("told:")]
    assert len(told) == 1, done.stderr[-3000:]
    line = told[0]
    assert "it does not know how the run ended" in line and "run the same command" in line
    assert "its page does not show the summary" in done.stdout + done.stderr
    summary = json.loads((tmp_path / "store" / "summary.json").read_text())
    assert [stage["done"] for stage in summary["stages"]] == [1, 3] and summary["status"] == "Completed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("PREFECT_HOME", "{tmp}/file/home", r"Prefect keeps its data base in .*/file/home, which cannot be written"),
        ("PREFECT_API_URL", "http://127.0.0.1:9/api", r"server at http://127.0.0.1:9/api does not answer"),
        ("PREFECT_API_URL", "http://127.0.0.1:{port}/api", r"\(status 404: is it another program's port\?\)"),
    ],
)
def test_what_keeps_a_run_from_its_server_is_named_at_once(tmp_path: Path, setting: str, value: str, says: str) -> None:
    other = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    (tmp_path / "file").touch()
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_text("no video")
    there = environment(tmp_path, **{setting: value.format(tmp=tmp_path, port=other.server_port)})
    words = ["refresh", "--videos", str(tmp_path / "videos"), "--work", str(tmp_path / "work"), "--recipe", "debug"]
    done = subprocess.run([FYE, *words], env=there, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("fye: ")]
    assert done.returncode == 1 and re.search(says, line), done.stderr
    assert "Traceback" not in done.stderr
    other.shutdown()


def test_a_file_that_tells_of_no_run_stops_none(tmp_path: Path) -> None:
    from flows.running import mark_killed

    (tmp_path / "notes").touch()
    assert mark_killed(tmp_path) == [] and not list(tmp_path.iterdir())
