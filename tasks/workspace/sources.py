"""The data set of a work folder: the roots it is made of, and every video below them by its content.

Roots are added by `retrain`, `refresh` and `capture` and remembered in `dataset.json`. A video is known by the hash of
its bytes, so a moved or renamed file is the same source; hashes are remembered by path, size and modification time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.engine.items import Nothing, Outcome
from tasks.engine.store import HashMemory, Store, digest

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg"})
REGISTRY = "dataset.json"


@dataclass(frozen=True)
class Root:
    """A folder of videos. With `subject`, all of them show that one person (a captured subject)."""

    path: str
    subject: str | None = None


@dataclass(frozen=True)
class Source:
    """One video file; `problem` says why it cannot even be read."""

    path: str
    name: str
    subject: str
    sha256: str
    size: int
    problem: tuple[str, str] | None = None

    @property
    def id(self) -> str:
        """Made of its bytes: a moved or renamed file is the same source."""
        return self.sha256[:16]


def registered_roots(store: Store) -> list[Root]:
    """The roots of this work folder's data set, in the order they were added."""
    if not store.exists(REGISTRY):
        return []
    return [Root(**root) for root in store.read_json(REGISTRY)["roots"]]


def register_root(store: Store, root: Root) -> list[Root]:
    """Add a root to the data set (once) and return all of them.

    Raises ValueError when the folder does not exist, cannot be read, holds no video, or is known under another subject.
    """
    root = Root(str(check_folder(Path(root.path))), root.subject)
    roots = registered_roots(store)
    for known in roots:
        if known.path == root.path and known.subject != root.subject:
            raise ValueError(f"{root.path} is already in this data set as subject {known.subject!r}; keep that name")
    if root not in roots:
        roots.append(root)
        registry = store.read_json(REGISTRY) if store.exists(REGISTRY) else {"schema": 1}
        store.write_json(REGISTRY, registry | {"roots": [asdict(known) for known in roots]})
    return roots


def check_folder(folder: Path) -> Path:
    """A folder of videos as an absolute path; ValueError when it does not exist, cannot be read or holds no video."""
    folder = folder.expanduser()
    if not folder.exists():
        raise ValueError(f"video folder {folder} does not exist")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the folder that holds the videos")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ValueError(f"video folder {folder} cannot be read: change its permissions, or run as its owner")
    if not any(_walk(folder)):
        raise ValueError(f"no videos in {folder}: expected files ending in {', '.join(sorted(VIDEO_SUFFIXES))}")
    return folder.resolve()


def scan(store: Store, roots: Iterable[Root]) -> list[Source]:
    """Every video below the roots, ordered by root and path. What cannot be read is returned with its problem.

    Raises ValueError when there is no video at all.
    """
    hashes = HashMemory(store)
    sources: list[Source] = []
    contents: dict[str, str] = {}
    roots = list(roots)
    for root in roots:
        for path, problem in _walk(Path(root.path)):
            name, subject = _naming(root, path)
            if problem is None and not path.resolve().is_relative_to(root.path):
                problem = (
                    "outside",
                    f"{path} is a link that leaves {root.path}; copy the file there if it belongs",
                )
            if problem is None:
                try:
                    sha256, size = hashes.digest(path)
                except OSError as error:
                    problem = ("unreadable", f"{path}: {error.strerror}; change its permissions or remove it")
            if problem is not None:
                sources.append(Source(str(path), name, subject, digest(str(path)), 0, problem))
                continue
            first = contents.setdefault(sha256, str(path))
            if first != str(path):
                problem = ("duplicate", f"{path} holds the same bytes as {first}; one of them is enough")
            sources.append(Source(str(path), name, subject, sha256, size, problem))
    if not sources:
        folders = ", ".join(root.path for root in roots)
        raise ValueError(
            f"no videos in {folders}: expected files ending in {', '.join(sorted(VIDEO_SUFFIXES))}"
            if roots
            else "this data set is empty: give a folder of videos with --videos DIR"
        )
    hashes.save()
    return sources


def set_aside(sources: Iterable[Source]) -> list[Outcome[Nothing]]:
    """The unreadable sources and duplicates as quarantined outcomes of the scan."""
    return [
        Outcome(source.id, source.name, "", "", {}, None, *source.problem)
        for source in sources
        if source.problem is not None
    ]


def _walk(root: Path) -> Iterable[tuple[Path, tuple[str, str] | None]]:
    problems: list[OSError] = []
    found = []
    for folder, folders, names in os.walk(root, onerror=problems.append, followlinks=False):
        folders.sort()
        found += [(Path(folder) / name, None) for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    unreadable = [
        (
            Path(str(error.filename)),
            ("unreadable", f"folder {error.filename}: {error.strerror}; change its permissions"),
        )
        for error in problems
    ]
    yield from sorted([*found, *unreadable], key=lambda pair: str(pair[0]))


def _naming(root: Root, path: Path) -> tuple[str, str]:
    """A readable name, and the subject: the root's, else the first folder below the root, else the file's own name."""
    relative = path.relative_to(root.path) if path.is_relative_to(root.path) else Path(path.name)
    name = "-".join(relative.with_suffix("").parts)
    if root.subject is not None:
        return f"{root.subject}-{name}", root.subject
    return name, relative.parts[0] if len(relative.parts) > 1 else relative.stem
