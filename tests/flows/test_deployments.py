"""prefect.yaml works as its users run it: a server, a process work pool, a worker, and `deployment run --watch`."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.faces.landmarker import LandmarkerAsset

ROOT = Path(__file__).resolve().parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))

pytestmark = [pytest.mark.slow, pytest.mark.prefect]


class Server:
    """A Prefect server of its own on a free port, with commands that talk to it."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home}/prefect.db",
            "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
            "PREFECT_CLI_PROMPT": "false",
            "COLUMNS": "250",  # tables are cut to the terminal, names included
        }
        self.log = home / "server.log"
        self.processes = [self.start("server", "start", "--host", "127.0.0.1", "--port", str(port))]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        log = self.log.open("ab")
        arguments = [PREFECT, *words]
        return subprocess.Popen(
            arguments, env=self.environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )

    def call(self, *words: str, timeout: float = 300) -> str:
        done = subprocess.run(
            [PREFECT, *words], env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}\n{self.log.read_text()[-4000:]}"
        return done.stdout

    def ask(self, what: str, filters: dict[str, Any]) -> list[dict[str, Any]]:
        """Rows of the server, as its API has them."""
        found: list[dict[str, Any]] = json.loads(self.tell("POST", f"{what}/filter", filters))
        return found

    def tell(self, method: str, what: str, values: dict[str, Any]) -> bytes:
        """Its answer. A command that says the same would take seconds to start."""
        request = urllib.request.Request(
            f"{self.url}/{what}",
            method=method,
            data=json.dumps(values).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            said: bytes = answer.read()
        return said

    def wait(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.5)
        raise AssertionError(f"no server after {seconds} s\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        for process in reversed(self.processes):
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, prefect_tables: Callable[[Path], None]) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("prefect")
    prefect_tables(home / "prefect.db")
    server = Server(home)
    try:
        server.wait()
        server.call("work-pool", "create", "fye", "--type", "process")
        server.call("--no-prompt", "deploy", "--all")
        server.processes.append(server.start("worker", "start", "--pool", "fye"))
        yield server
    finally:
        server.stop()


def test_every_deployment_names_a_flow_that_takes_its_parameters_and_no_flow_is_forgotten() -> None:
    from prefect import Flow

    from flows.notify import FLOWS

    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    deployed = set()
    for entry in entries:
        file, _, name = entry["entrypoint"].partition(":")
        found = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
        assert isinstance(found, Flow), entry["name"]
        assert set(entry["parameters"]) <= set(found.parameters.properties), entry["name"]
        deployed.add(found.name)
    texts = [path.read_text() for path in (ROOT / "flows").glob("*.py")]
    written = {name for text in texts for name in re.findall(r'@flow\(name="([\w-]+)"', text)}
    assert deployed == written
    assert deployed == set(FLOWS), "the failures of some are told to nobody"


def test_every_deployment_of_the_file_is_there_and_the_schedule_sleeps(server: Server) -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    listed = {deployment["name"]: deployment for deployment in server.ask("deployments", {})}
    assert [entry["name"] for entry in declared if entry["name"] not in listed] == []
    (schedule,) = listed["refresh-weekly"]["schedules"]
    assert schedule["schedule"]["cron"] == "0 3 * * 1" and schedule["active"] is False


def test_a_refresh_runs_through_the_worker_and_finds_its_work_done_the_second_time(
    server: Server, landmarker_asset: LandmarkerAsset, sample_clips: list[Path], tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "talking.mp4").write_bytes(sample_clips[0].read_bytes())
    (videos / "empty.mp4").touch()
    parameters = {
        "videos": str(videos),
        "work": str(tmp_path / "work"),
        "recipe": "debug",
        "runtime": {"workers": 1},
    }
    words = ["deployment", "run", "refresh/refresh-weekly", "--params", json.dumps(parameters), "--watch"]
    first = server.call(*words)
    assert "CompletedWithQuarantine" in first, first
    summary = json.loads((tmp_path / "work" / "summary.json").read_text())
    assert summary["quarantined"] == 1 and summary["data"]["kept"] == 1
    server.call(*words)
    again = json.loads((tmp_path / "work" / "summary.json").read_text())
    assert {stage["state"] for stage in again["stages"]} == {"Cached"}
    run = server.ask("flow_runs", {"sort": "START_TIME_ASC", "limit": 1})[0]["id"]
    artifacts = server.ask("artifacts", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    shown = {one["key"]: one["data"] for one in artifacts}
    assert "1 of 1 clips kept" in shown["summary"]
    assert "| clips | Completed | 1 of 2 | 0 | 1 |" in shown["summary"], shown["summary"]


def test_deploying_makes_the_limit_on_gpus_and_leaves_one_that_is_there(server: Server) -> None:
    (limit,) = [one for one in server.ask("v2/concurrency_limits", {}) if one["name"] == "gpu"]
    assert limit["limit"] == 1
    server.call("gcl", "update", "gpu", "--limit", "2")
    server.call("--no-prompt", "deploy", "--name", "smoke")
    (limit,) = [one for one in server.ask("v2/concurrency_limits", {}) if one["name"] == "gpu"]
    assert limit["limit"] == 2
    server.tell("PATCH", "v2/concurrency_limits/gpu", {"limit": 1})
    with urllib.request.urlopen(f"{server.url}/admin/settings", timeout=30) as answer:
        kept = json.load(answer)["server"]["concurrency"]["lease_storage"]
    assert kept.endswith(".filesystem"), "prefect.toml is not heeded: a server that is started again crashes runs"


SCHEDULED = {"type": "SCHEDULED", "name": "Scheduled"}
SLOT = """
import time
from pathlib import Path

import flows
from prefect import flow
from tasks.engine.limits import gpu_slots, logger

@flow
def takes_a_slot(folder: str, name: str):
    with gpu_slots(1, logger.info):
        begun = time.time()
        logger.info("%s has it", name)
        time.sleep(2)
        (Path(folder) / name).write_text(f"{begun} {time.time()}")
"""


def test_two_runs_of_deployments_do_not_take_the_card_at_once_and_their_lines_are_in_prefects_log(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "slot.py").write_text(SLOT)
    env = yaml.safe_load((ROOT / "prefect.yaml").read_text())["definitions"]["pool"]["job_variables"]["env"]
    words = ["--name", "slot", "--pool", "fye", "--job-variable", json.dumps({"env": env})]
    server.call("--no-prompt", "deploy", f"{tmp_path}/slot.py:takes_a_slot", *words)

    (slot,) = [one["id"] for one in server.ask("deployments", {}) if one["name"] == "slot"]
    for name in "ab":
        parameters = {"folder": str(tmp_path), "name": name}
        server.tell("POST", f"deployments/{slot}/create_flow_run", {"parameters": parameters, "state": SCHEDULED})
    deadline = time.monotonic() + 120
    while not ((tmp_path / "a").exists() and (tmp_path / "b").exists()) and time.monotonic() < deadline:
        time.sleep(0.2)
    (_, first_ended), (second_begun, _) = sorted(
        [float(word) for word in (tmp_path / name).read_text().split()] for name in "ab"
    )
    assert first_ended <= second_begun, "both had the card"
    lines = {}
    while len(lines) < 2 and time.monotonic() < deadline:  # they are sent a moment later
        told = server.ask("logs", {"limit": 200, "sort": "TIMESTAMP_DESC"})
        lines = {line["message"]: line for line in told if line["name"] == "tasks.engine.limits"}
    assert {"a has it", "b has it"} <= set(lines) and all(line["flow_run_id"] for line in lines.values())


NOTIFIED = """
import sys
import flows
from flows.notify import make_automations, remove_automations
from prefect import flow
from prefect.events import emit_event

if sys.argv[1] == "remove":
    print(remove_automations())
else:
    print(make_automations(sys.argv[1]), make_automations(sys.argv[1]))

    @flow(name="refresh")
    def refresh():
        raise ValueError('no "videos" here')

    @flow(name="not-one-of-ours")
    def other():
        raise ValueError("of no interest")

    for one in (other, refresh):
        one(return_state=True)
    told = {"work": "work/x", "model": "abc", "why": 'it is "worse"'}
    emit_event("fye.promotion.refused", resource={"prefect.resource.id": "fye.work.x"}, payload=told)
"""


def test_a_webhook_is_told_of_a_failed_run_and_of_a_refused_model_until_it_is_taken_away(server: Server) -> None:
    heard: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    def call(word: str) -> str:
        words = [sys.executable, "-c", NOTIFIED, word]
        done = subprocess.run(words, env=server.environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    try:
        call(f"http://127.0.0.1:{receiver.server_port}/hook")
        deadline = time.monotonic() + 60
        while len(heard) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        receiver.shutdown()
    texts = sorted(one["text"] for one in heard)
    assert texts[0] == 'fye: fye.promotion.refused in work/x, model abc: it is "worse"'
    assert texts[1].startswith("fye: the run ") and texts[1].endswith('ValueError: no "videos" here')
    assert len(texts) == 2, texts
    assert call("remove").count("fye: ") == 2 and call("remove").strip() == "[]"
