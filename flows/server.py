"""Prefect's temporary server as the command line wants it: untouched by Ctrl-C, gone when the command is gone, and back
when it dies before that.

Prefect starts it in the terminal's process group, so that Ctrl-C ends it before the run has told it how it ended: the
run then waits minutes for a server that is not there. It outlives a command that was killed, and when it dies in a run,
the run fails at its next word to it. All are settled here. What keeps it from starting is told in seconds.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from flows import HERE
from fye_model.processes import die_with_parent

RESTARTS = 3  # of a server that died in a run
TRIES = 3  # to start it: between looking for a free port and taking it, another program may take it
_ADDRESS = "PREFECT_API_URL"
_PATIENCE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
# At Python's own rate the search for cycles among all that the server imports takes a seventh of its start.
_UVICORN = "import gc; gc.set_threshold(50_000); import uvicorn; uvicorn.main()"
SERVED_S = 5.0  # in which a server that runs answers
logger = logging.getLogger("tasks.server")


class NoServer(ConnectionError):
    """Prefect's server cannot be started or reached."""


def start_server(meanwhile: Callable[[], None] | None = None) -> None:
    """Start the temporary server, unless Prefect is told of another one. Prefect uses this one, and stops it at exit.

    meanwhile: what else takes seconds, done in this thread while the server starts.
    Raises NoServer with the cause: a home that cannot be written, an address where nothing answers, the server's own
    last words.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        check_answer(settings.api.url)
        return
    if not settings.server.ephemeral.enabled:
        return
    _check_home(Path(settings.home))
    temporary = _Temporary(settings.server.ephemeral.startup_timeout_seconds)
    port = temporary.start(settings.to_environment_variables(exclude_unset=True), meanwhile)
    atexit.register(temporary.stop)
    _use(f"http://127.0.0.1:{port}/api")


def _use(address: str) -> None:
    """Have Prefect ask this server. Its own way to a temporary one loads the whole server here: 80 MB and a second."""
    from prefect.context import refresh_global_settings_context

    os.environ[_ADDRESS] = address
    os.environ["PREFECT_UI_URL"] = ""  # it shows no pages: Prefect would tell people to look at them
    refresh_global_settings_context()


@contextmanager
def server_told() -> Iterator[None]:
    """Within the body, a server that stops answering is an error that says so, and what to do."""
    import httpx

    try:
        yield
    except httpx.TransportError as error:
        raise NoServer(
            f"Prefect's server stopped answering in the middle of the run ({type(error).__name__}), so it does not "
            "know how the run ended. What the lines above say to be finished is kept, training at its last checkpoint: "
            "start the server again, or unset PREFECT_API_URL, and run the same command, which goes on from there"
        ) from error


class _Temporary:
    """The server's process, and a thread that starts it again when it dies."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self.port = 0
        self.process: subprocess.Popen[Any] | None = None
        self.stopped = threading.Event()
        self.answers = threading.Event()
        self.problem: Exception | None = None

    def start(self, settings: dict[str, str], meanwhile: Callable[[], None] | None = None) -> int:
        """Start it, do something else meanwhile, and wait until it answers; returns its port."""
        # it ends with the thread that started it: so that thread lives as long as this process
        threading.Thread(target=self._keep, args=(settings,), daemon=True, name="prefect-server").start()
        if meanwhile is not None:
            meanwhile()
        self.answers.wait()
        if self.problem is not None:
            raise self.problem
        return self.port

    def stop(self) -> None:
        self.stopped.set()
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def _keep(self, settings: dict[str, str]) -> None:
        try:
            for attempt in range(TRIES):
                self.port = _free_port()
                if self._run(settings, last=attempt == TRIES - 1):
                    break
        except Exception as error:
            self.problem = error
            return
        finally:
            self.answers.set()
        for _ in range(RESTARTS):
            assert self.process is not None
            code = self.process.wait()
            if self.stopped.is_set():
                return
            logger.warning("Prefect's temporary server has ended (exit status %d): it is started again", code)
            try:
                self._run(settings, last=True)
            except NoServer as error:
                logger.error("%s", error)
                return
        assert self.process is not None
        self.process.wait()  # the last one ends with this thread

    def _run(self, settings: dict[str, str], last: bool) -> bool:
        """Start the process and wait for its answer. False, or NoServer for the `last` try, when it ends before."""
        with tempfile.TemporaryFile() as said:
            self.process = self._command(settings, said)
            deadline = time.monotonic() + self.patience_s
            while time.monotonic() < deadline and self.process.poll() is None and not self.stopped.is_set():
                if _answer(f"http://127.0.0.1:{self.port}/api") is None:
                    return True
                time.sleep(0.1)
            if self.stopped.is_set() or (self.process.poll() is not None and not last):
                return False
            code = self.process.poll()
            said.seek(0)
            words = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
        self.process.kill()
        how = f"ended with exit status {code}" if code is not None else f"did not answer for {self.patience_s:.0f} s"
        last_words = f": {words[-1].strip()}" if words else ""
        slow = "" if code is not None else f"On a busy machine give it longer with {_PATIENCE}=SECONDS. "
        raise NoServer(
            f"Prefect's temporary server {how}{last_words}. {slow}Its data base is in PREFECT_HOME; another one "
            "(PREFECT_HOME=FOLDER) shows whether that is damaged"
        )

    def _command(self, settings: dict[str, str], said: IO[bytes]) -> subprocess.Popen[Any]:
        """Prefect's own command and environment, in a session of its own."""
        import prefect

        words = ["--app-dir", str(prefect.__module_path__.parent)]
        words += ["--factory", "prefect.server.api.server:create_app"]
        words += ["--host", "127.0.0.1", "--port", str(self.port), "--log-level", "error", "--lifespan", "on"]
        outside = {name: value for name, value in os.environ.items() if name != _ADDRESS}  # it is that server itself
        own = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", _UVICORN, *words],
            env={**outside, **own, **settings},
            stderr=said,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def check_answer(address: str) -> None:
    """Raise NoServer where no Prefect server answers at an address."""
    if (problem := _answer(address)) is not None:
        raise NoServer(
            f"Prefect's server at {address} does not answer ({problem}). Start it (prefect server start), correct "
            "PREFECT_API_URL, or unset it: then a run has a server of its own"
        )


def _answer(address: str) -> str | None:
    """Why no Prefect server answers at an address; None where one does. Our own machine is asked without a proxy."""
    import httpx

    url = httpx.URL(address)
    here = url.host in HERE
    try:
        # reading the certificates of the world takes 25 ms, and a server that starts is asked ten times a second
        with httpx.Client(trust_env=not here, timeout=SERVED_S, verify=url.scheme == "https") as client:
            status = client.get(f"{address.rstrip('/')}/health").status_code
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    # servers elsewhere answer in many ways; on this machine it may be another program that has the port
    return (
        None if status < 400 or not here or status in (401, 403) else f"status {status}: is it another program's port?"
    )


def _check_home(home: Path) -> None:
    """Raise NoServer where Prefect cannot keep its data base."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise NoServer(
            f"Prefect keeps its data base in {home}, which cannot be written ({error.strerror}); give it another "
            "folder with PREFECT_HOME=FOLDER"
        ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
