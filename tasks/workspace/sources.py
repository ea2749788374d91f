"""The data set of a work folder: the roots it is made of, and every piece of footage below them by its content.

Roots (folders and tables) are added by `retrain`, `refresh` and `capture` and remembered in `dataset.json`. A piece is
known by the hash of its bytes and its span, so a moved or renamed file is the same source; hashes are remembered by
path, size and modification time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tasks.engine.items import Nothing, Outcome
from tasks.engine.many import many_records
from tasks.engine.store import HashMemory, Store
from tasks.footage.card import DEFAULT_CARD, load_card, merged
from tasks.footage.check import Checked, check_footage
from tasks.footage.content import VIDEO_SUFFIXES, claimed_seconds
from tasks.footage.listing import Found, list_files
from tasks.footage.manifest import read_manifest, two_splits
from tasks.footage.pieces import Reading, Root, Source, is_manifest, sources_of
from tasks.footage.shards import Shard
from tasks.media.opening import printable
from tasks.workspace.registry import Registry, change_registry, read_registry

__all__ = ["Root", "Source", "register_root", "registered_roots", "scan", "set_aside"]


def registered_roots(store: Store) -> list[Root]:
    """The roots of this work folder's data set, in the order they were added."""
    return list(read_registry(store).roots)


def register_root(store: Store, root: Root) -> list[Root]:
    """Add a root to the data set (once) and return all of them.

    Raises ValueError when it does not exist, cannot be read, holds no video, or is known under another subject.
    """
    root = checked_root(root)

    def add(registry: Registry) -> Registry:
        roots, new = list(registry.roots), root
        same = [known for known in roots if known.path == root.path]
        for known in same:
            if known.subject != root.subject:
                raise ValueError(
                    f"{root.path} is already in this data set as subject {known.subject!r}; keep that name"
                )
            # what was said of it once need not be said again
            new = replace(new, card=new.card or known.card, follow_links=new.follow_links or known.follow_links)
        roots = [new if known in same else known for known in roots] + ([] if same else [new])
        return registry.model_copy(update={"roots": tuple(roots)})

    return list(change_registry(store, add).roots)


def known_aliases(store: Store) -> dict[str, str]:
    """Names of one person that were merged in this work folder: another name -> the name that is kept."""
    return read_registry(store).aliases


def merge_subjects(store: Store, kept: str, others: Iterable[str]) -> dict[str, str]:
    """Note that these names are one person; returns all such notes. ValueError for names that lead in a circle."""
    new = {other: kept for other in others if other != kept}

    def add(registry: Registry) -> Registry:
        aliases = registry.aliases | new
        for name in aliases:
            merged(name, aliases)
        return registry.model_copy(update={"aliases": aliases})

    return change_registry(store, add).aliases


def checked_root(root: Root) -> Root:
    """The root with an absolute path; ValueError when it cannot be read, holds no video, or names no source."""
    path = check_folder(Path(root.path), root.follow_links)
    card = root.card
    if card is not None:
        loaded = load_card(card)
        card = str(Path(card).resolve()) if card.endswith((".yaml", ".yml")) else loaded.name
    return replace(root, path=str(path), card=card)


def check_folder(folder: Path, follow_links: bool = False) -> Path:
    """A folder of videos, or a table of footage, as an absolute path; ValueError when it is none."""
    folder = folder.expanduser()
    if not folder.exists():
        raise ValueError(f"video folder {folder} does not exist")
    if is_manifest(folder):
        if not read_manifest(folder)[0]:
            raise ValueError(f"{folder} names no footage that can be taken; `fye sources check {folder}` says why")
        return folder.resolve()
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the folder that holds the videos, or a table (.csv, .parquet)")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ValueError(f"video folder {folder} cannot be read: change its permissions, or run as its owner")
    if not any(entry.found != Found.PASSED_OVER for entry in list_files(folder, follow_links, frame_folders=True)):
        raise ValueError(_no_videos(str(folder)))
    return folder.resolve()


def check_sources(root: Root) -> Checked:
    """Hold a folder or table against its card without reading what is in the files."""
    root = checked_root(root)
    card = load_card(root.card or DEFAULT_CARD)

    def seconds(source: Source) -> float | None:
        path = Path(source.path)
        whole = claimed_seconds(path) if path.is_file() else None
        if source.start_s == 0 and source.end_s is None:
            return whole
        end = min(end for end in (source.end_s, whole, float("inf")) if end is not None)
        return max(0.0, end - source.start_s) if end < float("inf") else None

    return check_footage(card, list(sources_of(root, Reading())), seconds)


@many_records()
def scan(store: Store, roots: Iterable[Root], shard: Shard | None = None) -> list[Source]:
    """Everything below the roots, ordered by root and path. What cannot be taken is returned with its problem.

    shard: only files of it are read; the others are passed over.

    Raises ValueError when there is no video at all.
    """
    hashes = HashMemory(store)
    roots, aliases = list(roots), known_aliases(store)
    sources: list[Source] = []
    contents: dict[str, str] = {}
    for root in roots:
        for found in sources_of(root, Reading(hashes, shard)):
            source = replace(found, subject=merged(found.subject, aliases))
            if source.problem is None:
                first = contents.get(source.id)
                if first is not None:
                    what = f"holds the same bytes as {printable(first)}" if first != source.path else "is listed twice"
                    told = f"{printable(source.path)} {what}; one of them is enough"
                    source = replace(source, problem=("duplicate", told))
                contents.setdefault(source.id, source.path)
            sources.append(source)
    if all(source.passed_over for source in sources) and (shard is None or not sources):
        folders = ", ".join(root.path for root in roots)
        raise ValueError(
            _no_videos(folders) if roots else "this data set is empty: give a folder of videos with --videos DIR"
        )
    hashes.save()
    _check_sides(sources)
    return sources


def _check_sides(sources: Iterable[Source]) -> None:
    """Raise ValueError for a subject that tables or lists put into both splits."""
    if both := two_splits((source.subject, source.split) for source in sources if source.problem is None):
        raise ValueError(
            f"in both splits: {', '.join(both[:10])}{' …' if len(both) > 10 else ''}. A subject is either trained on "
            "or held out: correct `split` in the table or the published list"
        )


def set_aside(sources: Iterable[Source]) -> list[Outcome[Nothing]]:
    """The unreadable sources and duplicates as quarantined outcomes of the scan."""
    return [
        Outcome(source.id, source.name, "", "", {}, None, *source.problem)
        for source in sources
        if source.problem is not None and not source.passed_over
    ]


def _no_videos(folders: str) -> str:
    return (
        f"no videos in {folders}: expected files such as {', '.join(sorted(VIDEO_SUFFIXES))}, or any that holds a video"
    )
