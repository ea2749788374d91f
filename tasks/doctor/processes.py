"""Processes of ours that outlived the run that started them, and their end. Linux only: elsewhere none are found."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PATIENCE_S = 5.0  # for a process to end by itself
# Each is only ever started by a run, which it must not outlive: its command, and what stands in its environment.
_OURS = (
    (
        "Prefect's temporary server",
        re.compile(r" prefect\.server\.api\.server:create_app "),
        b"PREFECT__SERVER_EPHEMERAL=1",
    ),
    ("training", re.compile(r" -m fye_model\.training --job \S+\.job/job\.json"), b""),
    ("Ray", re.compile(r"/fye-ray-[^/ ]+/"), b""),
)


@dataclass(frozen=True)
class Process:
    """A process. began: its start in clock ticks since the machine's, which no other process of that id shares."""

    id: int
    parent: int
    began: int
    what: str
    command: str


def orphans() -> list[Process]:
    """Our processes whose parents are gone, of this user."""
    found = {process.id: process for process in _processes()}
    return [one for one in found.values() if one.what and _adopted(one.parent)]


def end(process: Process) -> bool:
    """End a process, politely first; False where it is there still. Another one of the same id is left alone."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        if not _there(process):
            return True
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.id, how)
        deadline = time.monotonic() + _PATIENCE_S
        while _there(process) and time.monotonic() < deadline:
            time.sleep(0.05)
    return not _there(process)


def _there(process: Process) -> bool:
    found = _read(_PROC / str(process.id))
    return found is not None and found.began == process.began


def _processes() -> Iterator[Process]:
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid() and (found := _read(folder)) is not None:
                yield found


def _read(folder: Path) -> Process | None:
    """The process in a folder of /proc; None where there is none, or only what is left of it for its parent."""
    try:
        command = _command(folder)
        state, parent, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    if state == "Z":
        return None
    what = next((name for name, words, set_ in _OURS if words.search(command) and set_ in _environment(folder)), "")
    return Process(int(folder.name), int(parent), int(rest[17]), what, command)


def _command(folder: Path) -> str:
    return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def _environment(folder: Path) -> bytes:
    try:
        return (folder / "environ").read_bytes()
    except OSError:
        return b""


def _adopted(parent: int) -> bool:
    """Whether a parent is the process that takes in those without one: the first, or a user's own service manager.

    In a container the first may be a run itself, whose children are its own; without it none of them would be there.
    """
    if parent == 1:
        return not _is_run(_PROC / "1")
    with suppress(OSError):
        return (_PROC / str(parent) / "comm").read_text().strip() == "systemd"
    return True  # it went this moment


def _is_run(folder: Path) -> bool:
    with suppress(OSError):
        program = (folder / "comm").read_text().strip()
        return program == "fye" or (program.startswith("python") and " -m flows.cli " in f"{_command(folder)} ")
    return False
