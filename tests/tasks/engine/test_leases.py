"""A server that forgets who holds what, when it is started again, is told of; one that is started here does not."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = """
import os
for name in [name for name in os.environ if name.startswith("PREFECT_SERVER")]:
    del os.environ[name]
from prefect.settings import get_current_settings
print(get_current_settings().model_dump_json(include={"server"}))
"""


def settings_in(folder: Path) -> dict[str, Any]:
    """What a server goes by that is started in a folder, as it tells it itself."""
    done = subprocess.run([sys.executable, "-c", SETTINGS], cwd=folder, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def server(answer: dict[str, Any] | None) -> Iterator[str]:
    """An address where one asks a server for its settings; None: it does not tell."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{serving.server_port}/api"
    finally:
        serving.shutdown()


def found_at(address: str) -> str | None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks.engine.limits import forgetful

    with temporary_settings({PREFECT_API_URL: address}):
        return forgetful()


@pytest.mark.slow
def test_a_server_that_is_started_beside_the_sources_keeps_its_leases_and_tells_nobody_of_itself(
    tmp_path: Path,
) -> None:
    ours, usual = settings_in(ROOT), settings_in(tmp_path)
    assert not ours["server"]["analytics_enabled"] and usual["server"]["analytics_enabled"]
    with server(ours) as address:
        assert found_at(address) is None
    with server(usual) as address:
        assert "crashes" in str(found_at(address))
    with server(None) as address:
        assert found_at(address) is None
