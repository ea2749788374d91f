"""Every file below a folder: what is footage, what cannot be, and what was passed over, each with its reason.

Nothing is skipped in silence, and nothing is opened but ordinary files. Links are told of; they are followed where that
was asked for, and then each folder is entered once on the way down, so that loops end.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

from tasks.footage.content import PICTURE_SUFFIXES, VIDEO_SUFFIXES, why_no_video
from tasks.media.opening import printable

FOLLOW = "--follow-links"
_NUMBERED = re.compile(r".*?(\d+)\.\w+", re.DOTALL)
MIN_PICTURES = 2  # of a folder of pictures that is a clip
MOST_DEEP = 100  # folders in each other


class Found(StrEnum):
    """What a file or folder is to a data set."""

    VIDEO = "video"
    FRAMES = "folder of pictures"
    PROBLEM = "problem"  # may be footage, and cannot be taken
    PASSED_OVER = "passed over"  # is no footage


@dataclass(frozen=True)
class Entry:
    """A file or folder, what it is, and, where it is not taken, a reason as a slug and in words."""

    path: Path
    found: Found
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class _How:
    root: Path  # without links in it
    follow: bool
    frame_folders: bool


@dataclass(frozen=True)
class _Folder:
    path: Path
    way: frozenset[tuple[int, int]]  # device and inode of the folders above it


def list_files(root: Path, follow_links: bool = False, frame_folders: bool = False) -> Iterator[Entry]:
    """Everything below `root` in order of path. frame_folders: a folder of numbered pictures is a clip as a whole."""
    status = os.stat(root)
    how = _How(root.resolve(), follow_links, frame_folders)
    yield from _list_folder(_Folder(root, frozenset({(status.st_dev, status.st_ino)})), how)


def _list_folder(folder: _Folder, how: _How) -> Iterator[Entry]:
    if len(folder.way) > MOST_DEEP:
        yield _problem(folder.path, "too_deep", f"more than {MOST_DEEP} folders in each other; bring it further up")
        return
    try:
        with os.scandir(folder.path) as scan:
            found = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        yield _problem(folder.path, "unreadable", f"folder cannot be read ({error.strerror}); change its permissions")
        return
    pictures = [entry for entry in found if _is_picture(entry)]
    outside = [entry for entry in pictures if how.frame_folders and not how.follow and _leads_out(entry, how.root)]
    if outside:
        what = f"{len(outside)} of its pictures are links out of {printable(how.root)}; {FOLLOW} takes them"
        yield _problem(folder.path, "outside", what)
    elif pictures:
        yield _frame_folder(folder.path, [entry.name for entry in pictures], how.frame_folders)
    taken = {entry.name for entry in pictures}
    for entry in found:
        if entry.name not in taken:
            yield from _look_at(entry, folder, how)


def _look_at(entry: os.DirEntry[str], folder: _Folder, how: _How) -> Iterator[Entry]:
    path = Path(entry.path)
    if entry.name.startswith("."):
        yield _passed(path, "hidden", "its name begins with a dot: left by another system, or not meant to be seen")
        return
    try:
        linked = entry.is_symlink()
        status = os.stat(path)
    except FileNotFoundError:
        yield _problem(path, "dangling_link", f"a link to {_target(path)}, which is not there")
        return
    except OSError as error:  # a link to itself, a folder that may not be entered
        if error.errno == errno.ELOOP:
            yield _problem(path, "link_loop", "a link that leads in a circle")
        else:
            yield _problem(path, "unreadable", f"cannot be read ({error.strerror})")
        return
    if linked and not how.follow and (stat.S_ISDIR(status.st_mode) or _leads_out(entry, how.root)):
        yield _not_followed(path, stat.S_ISDIR(status.st_mode), how.root)
    elif stat.S_ISDIR(status.st_mode):
        inode = (status.st_dev, status.st_ino)
        if inode in folder.way:
            yield _problem(path, "link_loop", f"a link to {_target(path)}, a folder above it; it is not entered again")
        else:
            yield from _list_folder(_Folder(path, folder.way | {inode}), how)
    elif not stat.S_ISREG(status.st_mode):
        yield _problem(path, "no_file", "a pipe, socket or device, no ordinary file; remove it")
    else:
        yield _file(path)


def _file(path: Path) -> Entry:
    """A video by its name (whether it really is one, cutting it finds out) or by its content."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return Entry(path, Found.VIDEO)
    try:
        why = why_no_video(path)
    except OSError as error:
        return _problem(path, "unreadable", f"cannot be read ({error.strerror}); change its permissions or remove it")
    return Entry(path, Found.VIDEO) if why is None else _passed(path, "no_video", why)


def look_at_frames(folder: Path) -> Entry:
    """A folder that somebody names as one clip: its pictures, or why they are none. OSError where it cannot be read."""
    with os.scandir(folder) as scan:
        return _frame_folder(folder, [entry.name for entry in scan if _is_picture(entry)])


def _is_picture(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    try:
        return not name.startswith(".") and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES and entry.is_file()
    except OSError:  # such as a link to itself, which is told of as what it is
        return False


def _leads_out(entry: os.DirEntry[str], root: Path) -> bool:
    return entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(root)


def _frame_folder(folder: Path, names: list[str], wanted: bool = True) -> Entry:
    """A folder's pictures as one clip where they are numbered without a gap, else as something passed over."""
    count = f"{len(names)} picture{'s' if len(names) != 1 else ''}"
    if not wanted:
        return _passed(folder, "pictures", f"{count}; only sources with `frame_folders` take pictures for clips")
    numbers = [_NUMBERED.fullmatch(name) for name in names]
    if len(names) < MIN_PICTURES or not all(numbers):
        return _passed(folder, "pictures", f"{count}, not numbered as the frames of a clip are")
    counted = sorted(int(number[1]) for number in numbers if number)
    if len({os.path.splitext(name)[1].lower() for name in names}) > 1:
        return _problem(folder, "mixed_pictures", f"{count} of several kinds; a clip's are of one")
    for before, after in pairwise(counted):
        if after != before + 1:
            what = f"the frames after {before} are missing (next is {after})" if after > before else f"two of {after}"
            return _problem(folder, "missing_pictures", f"{count}: {what}; fetch the folder again")
    return Entry(folder, Found.FRAMES)


def _not_followed(path: Path, folder: bool, root: Path) -> Entry:
    what = "a linked folder" if folder else f"a link out of {printable(root)}"
    reason = "linked_folder" if folder else "outside"
    return _problem(path, reason, f"{what}, to {_target(path)}; {FOLLOW} takes what links lead to")


def _target(path: Path) -> str:
    try:
        return printable(os.readlink(path))
    except OSError:
        return "itself"


def _problem(path: Path, reason: str, message: str) -> Entry:
    return Entry(path, Found.PROBLEM, reason, f"{printable(path)}: {message}")


def _passed(path: Path, reason: str, message: str) -> Entry:
    return Entry(path, Found.PASSED_OVER, reason, f"{printable(path)}: {message}")
