"""Ray, started and stopped so that nothing of it is left behind and nothing of ours is changed; and its death seen.

Ray of our own has its own folder for sessions, which goes with it, and takes orders from those who know its token
alone: it listens to the whole network. Another Ray on this machine is left alone, unless RAY_ADDRESS names it.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.engine.held import HeldFolder, left_folders

MOST_SILENT_S = 40.0  # of somebody's cluster: Ray itself aborts the process after 60
_FOLDER = "fye-ray-"
_held: HeldFolder | None = None  # of the session folder of our own Ray
logger = logging.getLogger(__name__)


class RayGone(ConnectionError):
    """Ray itself died, not a worker of it. What is finished is kept; the same command goes on from there."""


def start_ray() -> None:
    """Connect to the cluster in RAY_ADDRESS, or start a small local Ray of our own; does nothing when one is up.

    One of our own that died since it was last used is replaced: whoever asked it for a worker would wait for ever.
    SIGTERM means afterwards what it meant before: Ray would have it end the process at once.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray makes its workers nicer by 15: on a machine with other work they stand still until their clips' time is over
    os.environ.setdefault("RAY_worker_niceness", "0")
    if not os.environ.get("RAY_ADDRESS"):
        _ask_for_a_token()
    import ray

    if ray.is_initialized():
        if not _dead_parts():
            return
        logger.warning("Ray died while nobody used it (too little memory is the usual reason); another one is started")
        shutdown()
    logging.getLogger("ray._private.worker").addFilter(_no_dumps)
    with _signals_kept():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=True, logging_level=logging.WARNING)
            return
        with _interrupts_later():  # half a Ray cannot be shut down, and its processes would linger
            folder = str(_new_folder() / "r")  # Ray lets everybody write into its folder: nobody else shall reach it
            try:
                ray.init(
                    address="local",
                    num_cpus=os.cpu_count(),
                    include_dashboard=False,
                    object_store_memory=100 * 1024 * 1024,  # frames never travel through it
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                    _temp_dir=folder,
                )
            except Exception as error:  # Ray raises the base class
                raise _not_started(error) from error


def _not_started(error: Exception) -> RayGone:
    why = "" if os.access("/dev/shm", os.W_OK) else ": /dev/shm is not writable (a container wants --shm-size 1g)"
    said = str(error).strip().split("\n")[0]
    return RayGone(
        f"Ray does not start{why}. {said} The usual reason is a machine that is very busy, or has less than 1 GB of "
        "memory left; --workers 0 works without Ray"
    )


def _ask_for_a_token() -> None:
    """Have the Ray that this process starts, and all that it starts, know one secret; unless it is said otherwise.

    Whoever may talk to Ray runs code, and it listens on every address of the machine. Ray reads this when it is
    imported; by itself it would keep its token in the home folder, which may not be writable.
    """
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def shutdown() -> None:
    """Stop the local Ray, give its memory back and remove its folder; does nothing when none is up."""
    global _held
    if "ray" in sys.modules:
        with _signals_kept():
            sys.modules["ray"].shutdown()
    if _held is not None:
        _held.remove()
        _held = None


class Watch:
    """Looks whether Ray still is there, at most once a second."""

    def __init__(self) -> None:
        import ray

        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._head = (host.strip("[]"), int(port))
        self._ours = _held is not None
        self._next = self._answered = time.monotonic()

    def check(self, now: bool = False) -> None:
        """Raises RayGone where a process that Ray cannot do without is dead, or its head has not answered for long."""
        if not now and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 1.0
        if self._ours:
            if dead := _dead_parts():
                raise _gone(f"its process {' and '.join(sorted(dead))} was killed or ended")
            return
        try:
            socket.create_connection(self._head, timeout=2.0).close()
            self._answered = time.monotonic()
        except OSError as error:
            if (silent := time.monotonic() - self._answered) > MOST_SILENT_S:
                raise _gone(f"its head {self._head[0]}:{self._head[1]} has not answered for {silent:.0f} s") from error


def _dead_parts() -> set[str]:
    """The processes of a Ray of our own, without which it can do nothing, that are dead; none of somebody else's."""
    node: Any = sys.modules["ray"]._private.worker._global_node
    return {name for name, _ in node.dead_processes()} & {"gcs_server", "raylet"} if _held is not None else set()


def _no_dumps(record: logging.LogRecord) -> bool:
    """Leaves out what Ray logs of a raylet that died: dozens of lines of its state."""
    return "Raylet is terminated" not in record.getMessage()


def _gone(how: str) -> RayGone:
    return RayGone(
        f"Ray is gone: {how}. Too little memory is the usual reason (see dmesg). What is finished is kept, and nothing "
        "is held against the open clips: run the same command again, with fewer workers (--workers) or none (0)"
    )


@contextmanager
def _signals_kept() -> Iterator[None]:
    """SIGTERM does the same after the body as before. Where that was the default, Ray cleans up as long as it is up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    ours = before if callable(before) and not _of_ray(before) else None
    try:
        yield
    finally:
        # Ray resets it behind Python's back: what `getsignal` says is not what the system does
        if ours is not None or not sys.modules["ray"].is_initialized():
            signal.signal(signal.SIGTERM, ours or signal.SIG_DFL)


def _of_ray(handler: Callable[..., Any]) -> bool:
    return str(getattr(handler, "__module__", "")).partition(".")[0] == "ray"


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Hold Ctrl-C back for the few seconds of the body."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: came.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if came.is_set():
        raise KeyboardInterrupt


def _new_folder() -> Path:
    """A folder for Ray's session, held as long as this process lives; those that nobody holds are removed."""
    global _held
    _held = HeldFolder(session_base(), _FOLDER)
    return _held.path


def session_base() -> Path:
    """Where the folders of Ray's sessions lie."""
    base = Path(os.environ.get("RAY_TMPDIR") or "/tmp")  # a longer path would be too long for its sockets
    return base if os.access(base, os.W_OK) else Path(tempfile.gettempdir())


def left_sessions(remove: bool = False) -> list[Path]:
    """Folders of sessions of this user's that nobody holds."""
    return left_folders(session_base(), _FOLDER, remove)
