"""Files that are whole or not there, and digests of what files hold: the one place that writes under a temporary name.

A temporary name begins with a dot, names its target, the machine and the process, and ends in `.part`; what a process
of this machine that is gone left under such a name is removed by the next writer of that target.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; what the block writes there becomes `path`, synced, when it ends well.

    The folder is made where it is missing. After an error nothing is left and an older `path` stays.
    """
    with _beside(path) as temporary:
        yield temporary
        sync(temporary)
        _share(temporary)
        os.replace(temporary, path)
        sync(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`, which becomes `path` when the block ends well.

    An older folder at `path` is replaced; a reader sees the old one, nothing for an instant, or the new one.
    """
    with _beside(path) as temporary:
        temporary.mkdir()
        yield temporary
        place_folder(temporary, path)


def place_folder(folder: Path, path: Path) -> None:
    """Sync a finished folder and give it the name `path`, on the same disk; an older folder there is replaced."""
    share_folder(folder)
    for entry in folder.rglob("*"):
        if entry.is_file():
            sync(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    old = _temporary(path, "old")
    if path.exists():
        os.replace(path, old)
    os.replace(folder, path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def share_folder(folder: Path) -> None:
    """Give every file below a folder the permissions that the process's umask asks for: libraries that write under a
    temporary name of their own leave files that nobody else may read."""
    for entry in folder.rglob("*"):
        if entry.is_file() and not entry.is_symlink():
            _share(entry)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file; a reader sees the old or the new one, never a part."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any, *, indent: int = 1) -> None:
    """Write JSON with sorted keys, so that equal values are equal bytes; ValueError for NaN and infinity."""
    text = json.dumps(value, indent=indent, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_atomic(path, f"{text}\n".encode())


def parse_json(text: str | bytes) -> Any:
    """The values of JSON text. Raises ValueError for what is none, also for what is nested without end."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested without end") from error


def replace_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, in place of an older link."""
    with _beside(link) as temporary:
        temporary.symlink_to(target)
        os.replace(temporary, link)


def sync(path: Path) -> None:
    """Have the disk hold a file, or a folder's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """sha256 of a JSON-able value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def json_list_digest(values: Iterable[Any]) -> str:
    """What `json_digest` says of the list of these values, which need not all be there at once."""
    state = hashlib.sha256(b"[")
    for number, value in enumerate(values):
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        state.update(f",{text}".encode() if number else text.encode())
    state.update(b"]")
    return state.hexdigest()


def folder_digest(folder: Path) -> str:
    """sha256 over the names and contents of a folder's files; ValueError where there is no folder."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    state = hashlib.sha256()
    for path in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
        state.update(f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n".encode())
    return state.hexdigest()


def _share(path: Path) -> None:
    os.chmod(path, 0o666 & ~_umask())


def _umask() -> int:
    """The process's umask. The system tells it only to those who set it; Linux also writes it down."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"^Umask:\s*(\d+)", status, re.MULTILINE)[1], 8)  # type: ignore[index]
    except (OSError, TypeError):
        mask = os.umask(0o022)
        os.umask(mask)
        return mask


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(path)
    temporary = _temporary(path, "part")
    _remove(temporary)
    try:
        yield temporary
    finally:
        _remove(temporary)


def _temporary(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.{ending}")


def is_left_over(path: Path) -> bool:
    """Whether this is a temporary name of a process of this machine that is gone."""
    match = re.fullmatch(rf"\..+\.{_HOST}-(\d+)\.(part|old)", path.name)
    return match is not None and not alive(int(match[1]))


def _remove_left_over(path: Path) -> None:
    """Remove temporary names of this target whose process is gone."""
    name = re.compile(rf"\.{re.escape(path.name)}\.{_HOST}-(\d+)\.(part|old)")
    with os.scandir(path.parent) as entries:
        found = [(entry.name, match) for entry in entries if (match := name.fullmatch(entry.name))]
    for entry, match in found:
        if not alive(int(match[1])):
            _remove(path.with_name(entry))


def alive(process: int) -> bool:
    """Whether this machine runs a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
