"""One process at a time, on a disk and on stores that know no locks; and nothing left when nobody holds one."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fye_model.files import alive


@contextmanager
def held_file(path: Path, wait_s: float, what: str) -> Iterator[None]:
    """Hold a lock file, which goes when it is released. TimeoutError that names `what` after `wait_s`.

    The system releases what a killed process held. A folder of the lock's name is cleared away: nothing else is of use
    there.
    """
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout as error:
        raise TimeoutError(
            f"{what} has been claimed by another process for {wait_s:.0f} s: is a run hanging?"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # who waits on it sees that it is gone, and makes another
        lock.release()


def is_free(path: Path) -> bool:
    """Whether nobody holds a lock file; one that cannot be opened counts as held."""
    try:
        with FileLock(path, timeout=0):
            return True
    except (Timeout, OSError):
        return False


@contextmanager
def held_claim(
    folder: str,
    write: Callable[[str, bytes], None],
    names: Callable[[str], list[str]],
    delete: Callable[[str], None],
    wait_s: float,
) -> Iterator[None]:
    """Hold a folder of a store without locks. TimeoutError that says how to go on when another process never lets go.

    Each writes a claim of its own, and has the folder when it then sees no other; else it takes its claim back and
    tries again. That needs only that a listing shows what was written before it, as the usual object stores promise.
    What a killed process of this machine held is taken from it.
    """
    mine = f"{_here()}{uuid.uuid4().hex[:24]}.{socket.gethostname()}.{os.getpid()}"
    deadline = time.monotonic() + wait_s
    while True:
        write(f"{folder}/{mine}", b"")
        others = [name for name in names(folder) if name != mine]
        if not others:
            break
        delete(f"{folder}/{mine}")
        left = [name for name in others if _left_over(name)]
        for name in left:
            delete(f"{folder}/{name}")
        if left:
            continue
        if time.monotonic() > deadline:
            host, process = others[0].split(".", 1)[-1].rsplit(".", 1)
            raise TimeoutError(
                f"{folder}/{others[0]}: held for {wait_s:.0f} s by process {process} of {host}, and nothing was "
                "changed. If that process is gone, delete this file and run the same command again"
            )
        time.sleep(random.uniform(0.02, 0.3))
    try:
        yield
    finally:
        delete(f"{folder}/{mine}")


def _here() -> str:
    """Eight letters for this machine since it was started, and for the process numbers that are seen here; machines
    may share a name, and containers a machine."""
    try:
        since = Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")
    except OSError:
        since = uuid.uuid4().hex  # where it cannot be told, no claim is taken for one of here
    return hashlib.sha256(since.encode()).hexdigest()[:8]


def _left_over(claim: str) -> bool:
    """Whether a claim is of a process of this machine that is gone."""
    process = claim.rpartition(".")[2]
    return claim.startswith(_here()) and process.isdecimal() and not alive(int(process))
