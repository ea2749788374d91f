"""Ray is started early where there is sure to be work, and never where a run may find everything done."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from flows.early import early_ray
from flows.server import _Temporary
from fye_model.config import Runtime
from tasks.engine.store import Store
from tasks.workspace.registry import change_registry
from tasks.workspace.sources import Root

ANSWERS = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

while not Path(sys.argv[2]).exists():
    time.sleep(0.02)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def starts(work: Path | str, videos: Path | None = None, workers: int = 2, name: str = "videos") -> bool:
    parameters = {"work": str(work), name: None if videos is None else str(videos), "runtime": Runtime(workers=workers)}
    return early_ray(parameters) is not None


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """A work folder with one cut item, of one known root."""
    store = Store(tmp_path / "work")
    store.write_bytes("items/clips/key/receipt.json", b"{}")
    roots = (Root(str(tmp_path / "known")),)
    change_registry(store, lambda registry: registry.model_copy(update={"roots": roots}))
    return tmp_path / "work"


def test_a_new_work_folder_and_a_new_folder_of_videos_are_sure_work(tmp_path: Path, done: Path) -> None:
    assert starts(tmp_path / "none") and starts(Store(tmp_path / "empty").url)
    assert starts(done, tmp_path / "new") and starts(done, tmp_path / "anna", name="folder")


def test_what_may_be_done_already_starts_nothing(tmp_path: Path, done: Path) -> None:
    assert not starts(done) and not starts(done, tmp_path / "known")
    assert not starts(tmp_path / "none", workers=0) and not starts("memory://work")


def test_a_flow_that_takes_no_videos_starts_nothing(tmp_path: Path) -> None:
    assert not starts(tmp_path / "none", tmp_path / "b.mp4", name="driving")


class Waiting(_Temporary):
    """In place of Prefect's server a program that answers only once a file is there."""

    def __init__(self, go: Path) -> None:
        super().__init__(patience_s=5.0)
        self.go = go

    def _command(self, settings: dict[str, str], said: IO[bytes]) -> subprocess.Popen[Any]:
        return subprocess.Popen([sys.executable, "-c", ANSWERS, str(self.port), str(self.go)], stderr=said)


def test_something_else_is_done_while_the_server_starts(tmp_path: Path) -> None:
    server, threads = Waiting(tmp_path / "go"), []

    def meanwhile() -> None:
        threads.extend(thread.name for thread in threading.enumerate())
        server.go.touch()

    try:
        assert server.start({}, meanwhile) > 0, "it would not answer to one who waits for it first"
        assert "prefect-server" in threads, "it was being started already"
    finally:
        server.stop()
