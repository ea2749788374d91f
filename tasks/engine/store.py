"""The store: one fsspec root in which nothing half-written is ever visible.

    items/<stage>/<key>/…              one item's output files and, written last, its receipt.json
    stages/<stage>/<key>.parquet       one row per item of a finished stage
    results/…                          Prefect's records of finished stages
    partial/<stage>/<key>/…            work in progress (on the local disk, also for a remote root)

All paths inside are relative, so a store may be moved or copied.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pydantic import TypeAdapter

from fye_model.files import file_digest, parse_json, place_folder, whole_file, write_atomic
from fye_model.files import json_digest as digest
from tasks.engine.locks import held_claim, held_file
from tasks.engine.own import own_folder

__all__ = ["HASHES", "FileRef", "HashMemory", "Store", "digest", "file_digest", "folder_files", "is_address"]
PUBLISHING_S = 1800.0  # to wait for another machine that sends its files of the same item
OWN = ("items", "stages", "results", "partial")  # what in a store is the store's alone
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileRef:
    """A file by where it lies and what it holds; `path` is relative to the store, or absolute for a source outside."""

    path: str
    sha256: str
    size: int


class Store:
    """An fsspec root (`path`, `file://`, `memory://`, `s3://` …) with atomic, receipt-last writes."""

    def __init__(self, root: str | Path) -> None:
        self.url = str(root)
        # no remembered listings: other machines write here too
        self.fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        self.local_root = Path(self._root) if isinstance(self.fs, LocalFileSystem) else None
        if self.local_root is not None:
            if self.local_root.exists() and not self.local_root.is_dir():
                raise ValueError(f"work folder {self.local_root} is a file; give a folder (--work DIR)")
            try:
                self.local_root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ValueError(f"work folder {self.local_root} cannot be made: {error.strerror}") from error
            if not os.access(self.local_root, os.W_OK):
                raise ValueError(f"work folder {self.local_root} is not writable; give another with --work DIR")

    # Everything that names a file goes through here.
    def _full(self, rel: str) -> str:
        if rel.startswith("/") or ".." in rel.split("/"):
            raise ValueError(f"{rel!r} leaves the store {self.url}")
        return f"{self._root.rstrip('/')}/{rel}"

    def exists(self, rel: str) -> bool:
        full = self._full(rel)
        return os.path.exists(full) if self.local_root is not None else bool(self.fs.exists(full))

    def names(self, rel: str) -> list[str]:
        """The names in a folder of the store, sorted; none where it does not exist."""
        try:
            return sorted(PurePosixPath(path).name for path in self.fs.ls(self._full(rel), detail=False))
        except FileNotFoundError:
            return []

    def size(self, rel: str) -> int | None:
        """Bytes, or None when the file does not exist."""
        try:
            return int(
                os.stat(self._full(rel)).st_size if self.local_root is not None else self.fs.size(self._full(rel))
            )
        except (FileNotFoundError, NotADirectoryError):
            return None

    def holds(self, folder: str, files: Mapping[str, tuple[int, str]]) -> bool:
        """Whether a folder has its receipt.json and these files, {name: (size, sha256)}, with their sizes, and with
        their contents where they were written to after the receipt.

        Other file systems than the local one are asked for the sizes only.
        """
        receipt = f"{folder}/receipt.json"
        if self.local_root is None:
            return self.exists(receipt) and all(self.size(f"{folder}/{name}") == files[name][0] for name in files)
        try:
            since = os.stat(self._full(receipt)).st_mtime_ns
            for name, (size, sha256) in files.items():
                path = self._full(f"{folder}/{name}")
                found = os.stat(path)
                if found.st_size != size or (found.st_mtime_ns > since and file_digest(Path(path)) != sha256):
                    return False
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def read_bytes(self, rel: str) -> bytes:
        """What a file holds. Raises OSError for what is no file: reading a named pipe would wait for ever."""
        full = self._full(rel)
        if self.local_root is None:
            return bytes(self.fs.cat_file(full))
        if not stat.S_ISREG(os.stat(full).st_mode):
            raise OSError(errno.EINVAL, "it is not a file", full)
        return Path(full).read_bytes()  # fsspec would take four times as long for a small file

    def open(self, rel: str) -> BinaryIO:
        """A file of the store for reading, block by block. Raises OSError for what is no file."""
        full = self._full(rel)
        if self.local_root is not None and not stat.S_ISREG(os.stat(full).st_mode):
            raise OSError(errno.EINVAL, "it is not a file", full)
        return cast(BinaryIO, self.fs.open(full, "rb"))

    def read_json(self, rel: str) -> Any:
        """The values of a JSON file. Raises ValueError that names it where it is damaged."""
        try:
            return parse_json(self.read_bytes(rel))
        except ValueError as error:
            raise ValueError(
                f"{self.url}/{rel} is damaged ({error}); delete it, and the next run makes it anew"
            ) from error

    def write_bytes(self, rel: str, data: bytes) -> None:
        """Write a whole file; a reader sees the old or the new one, never a part."""
        full = self._full(rel)
        if self.local_root is None:
            self.fs.pipe_file(full, data)
            return
        self._clear_way(Path(full))
        write_atomic(Path(full), data)

    def write_json(self, rel: str, value: Any) -> None:
        self.write_bytes(rel, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())

    def delete(self, rel: str) -> None:
        """Remove a file or folder; it need not exist."""
        full = self._full(rel)
        if self.local_root is not None:
            path = Path(full)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        elif self.fs.exists(full):
            self.fs.rm(full, recursive=True)

    def _clear_way(self, path: Path) -> None:
        """Remove what lies where a file of the store's own belongs and is none, or no folder above it."""
        assert self.local_root is not None
        rel = path.relative_to(self.local_root)
        if rel.parts[0] not in OWN:  # people may have put something there
            return
        for parent in reversed([self.local_root / parent for parent in rel.parents][:-1]):
            if os.path.lexists(parent) and not parent.is_dir():
                logger.warning("%s is no folder, as it should be: it is removed", parent)
                parent.unlink()
        if os.path.lexists(path) and not path.is_file():
            logger.warning("%s is no file, as it should be: it is removed", path)
            self.delete(rel.as_posix())

    def publish(self, folder: Path, rel: str, receipt: bytes) -> None:
        """Move a finished local folder to `rel`. Its receipt.json is what makes it visible, and comes last."""
        if self.local_root is not None:
            target = Path(self._full(rel))
            self._clear_way(target / "receipt.json")
            write_atomic(folder / "receipt.json", receipt)
            # an incomplete or damaged earlier output stops being believed before it goes
            (target / "receipt.json").unlink(missing_ok=True)
            place_folder(folder, target)
            return
        self.delete(f"{rel}/receipt.json")
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.fs.put_file(str(path), self._full(f"{rel}/{path.relative_to(folder).as_posix()}"))
        self.write_bytes(f"{rel}/receipt.json", receipt)
        shutil.rmtree(folder)

    @contextmanager
    def publishing(self, rel: str) -> Iterator[None]:
        """Hold an item's folder while it is published, where `claimed` does not reach: against other machines.

        Two that sent the files of one item at once would leave a mixture of both under the receipt of the last. Raises
        TimeoutError as `exclusive` does.
        """
        if self.local_root is not None:
            yield
            return
        with self.exclusive(rel, PUBLISHING_S):
            yield

    def content_digest(self, path: Path) -> str:
        """sha256 of a local file, or of a folder's file names and contents; ValueError when there is nothing."""
        if not path.exists():
            raise ValueError(f"{path} does not exist; correct the path in the recipe")
        hashes = HashMemory(self)
        files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
        value = digest([[entry.relative_to(path).as_posix(), hashes.digest(entry)[0]] for entry in files])
        hashes.save()
        return value

    def scratch(self, rel: str) -> Path:
        """A local folder for work in progress on `rel`; it survives a killed process, so the work can go on.

        Raises ValueError where somebody else's folder is in its place on this machine.
        """
        if self.local_root is not None:
            return self.local_root / "partial" / rel
        return own_folder(Path(tempfile.gettempdir()), "follow-your-emoji") / digest(self.url)[:12] / "partial" / rel

    @contextmanager
    def claimed(self, rel: str, wait_s: float = 24 * 3600.0) -> Iterator[Path]:
        """Hold `rel` against other processes of this machine while it is made; yields its scratch folder."""
        folder = self.scratch(rel)
        if self.local_root is not None:
            self._clear_way(Path(f"{folder}.lock"))
        with held_file(Path(f"{folder}.lock"), wait_s, rel):
            if os.path.lexists(folder) and not folder.is_dir():
                folder.unlink()
            folder.mkdir(exist_ok=True)
            yield folder

    @contextmanager
    def exclusive(self, rel: str, wait_s: float = 60.0) -> Iterator[None]:
        """Hold a file of the store while it is read and changed, against every process of every machine.

        Raises TimeoutError, with nothing changed, where another one does not let go of it.
        """
        self._full(rel)
        if self.local_root is not None:
            with held_file(self.local_root / f".{rel}.lock", wait_s, f"{self.url}/{rel}"):
                yield
            return
        with held_claim(f"{rel}.claims", self.write_bytes, self.names, self.delete, wait_s):
            yield

    def local_path(self, path: str) -> Path:
        """A local path of a stored (relative) or source (absolute, or a URL) file; remote ones are fetched once."""
        if is_address(path):
            fs, full = fsspec.core.url_to_fs(path)
            target = self._fetched(path)
        elif self.local_root is not None or os.path.isabs(path):
            return Path(path) if os.path.isabs(path) else Path(self._full(path))
        else:
            # Files of one folder stay together: models are loaded from folders.
            fs, full, target = self.fs, self._full(path), self.scratch("fetched") / PurePosixPath(path)
        if not target.exists() or target.stat().st_size != fs.size(full):
            with whole_file(target) as temporary:
                fs.get_file(full, str(temporary))
        return target

    def local_folder(self, files: Mapping[str, FileRef]) -> Path:
        """The folder of this machine in which these files lie under their names. ValueError where it is not one."""
        paths = {name: self.local_path(ref.path) for name, ref in files.items()}
        (folder,) = {path.parents[len(PurePosixPath(name).parts) - 1] for name, path in paths.items()}
        return folder

    def forget_fetched(self, paths: Iterable[str]) -> None:
        """Remove this process's copies of files at addresses, so that a disk need not hold all the footage."""
        for path in filter(is_address, paths):
            self._fetched(path).unlink(missing_ok=True)

    def _fetched(self, address: str) -> Path:
        """Where this process puts its copy: other processes may work on other spans of it. No word of it is a path."""
        ending = re.search(r"\.\w{1,8}$", address)
        return self.scratch("fetched") / f"{digest([address, os.getpid()])[:16]}{ending[0] if ending else ''}"


def is_address(path: str) -> bool:
    """Whether a file lies at an fsspec address instead of in the store or on this machine."""
    return "://" in path


def is_missing(work: str) -> bool:
    """Whether there is no such work folder on this machine; an address may always be there."""
    return not is_address(work) and not Path(work).is_dir()


def existing_store(work: str) -> Store:
    """The store of a work folder that is there. Raises ValueError for one that is not, which is not made then."""
    if is_missing(work):
        raise ValueError(f"there is no work folder {work}; give the one of a run with --work")
    return Store(work)


HASHES = "hashes.json"
_ENTRIES = TypeAdapter(dict[str, tuple[int, int | str, str]])


class HashMemory:
    """sha256 of local files, remembered in the store by path, size and modification time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known = self._read()
        self._fresh: set[str] = set()

    def _read(self, told: bool = False) -> dict[str, list[int | str]]:
        try:
            found = _ENTRIES.validate_json(self._store.read_bytes(HASHES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            if not told:
                logger.warning("%s/%s is damaged (%s): it is made anew", self._store.url, HASHES, type(error).__name__)
            return {}
        return {place: list(entry) for place, entry in found.items()}

    def digest(self, path: Path) -> tuple[str, int]:
        """(sha256, size in bytes); OSError when the file cannot be read."""
        status = path.stat()
        return self._remembered(str(path), status.st_size, status.st_mtime_ns, lambda: file_digest(path))

    def digest_of(self, place: str) -> tuple[str, int]:
        """The same of a file, a folder (names and contents of what lies in it, one size) or an fsspec address."""
        if is_address(place):
            return self._remembered(place, *self._remote_state(place), lambda: _remote_digest(place))
        path = Path(place)
        if not path.is_dir():
            return self.digest(path)
        files = sorted(entry for entry in path.iterdir() if entry.is_file())
        states = [(file.name, file.stat()) for file in files]
        size = sum(state.st_size for _, state in states)
        stamp = digest([[os.fsencode(name).hex(), state.st_size, state.st_mtime_ns] for name, state in states])
        return self._remembered(
            place, size, stamp, lambda: digest([[os.fsencode(file.name).hex(), file_digest(file)] for file in files])
        )

    def _remembered(self, place: str, size: int, stamp: int | str, read: Callable[[], str]) -> tuple[str, int]:
        entry = self._known.get(place)
        if entry is None or entry[:2] != [size, stamp]:
            entry = [size, stamp, read()]
            self._known[place] = entry
            self._fresh.add(place)
        return str(entry[2]), size

    @staticmethod
    def _remote_state(address: str) -> tuple[int, str]:
        fs, path = fsspec.core.url_to_fs(address)
        return int(fs.info(path)["size"]), str(fs.ukey(path))

    def save(self) -> None:
        """Add what was read to what other processes noted meanwhile."""
        if not self._fresh:
            return
        with self._store.exclusive(HASHES):
            self._known = self._read(told=True) | {place: self._known[place] for place in self._fresh}
            self._store.write_json(HASHES, self._known)
        self._fresh.clear()


def _remote_digest(address: str) -> str:
    """sha256 of the bytes at an fsspec address, read once through."""
    with fsspec.open(address, "rb") as handle:
        state = hashlib.sha256()
        while block := handle.read(1 << 22):
            state.update(block)
        return state.hexdigest()


def folder_files(folder: Path) -> dict[str, tuple[int, str]]:
    """{relative name: (size, sha256)} of every file below a folder, sorted by name."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: ((folder / name).stat().st_size, file_digest(folder / name)) for name in names}
