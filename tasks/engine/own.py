"""Folders that are this user's alone, in places that everybody of a machine may write to."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


def own_folder(base: Path, name: str) -> Path:
    """The folder `name-<user number>` in `base`, made where it is not there; nobody else may look or write into it.

    Its name can be guessed, so somebody else may have put one there, with results that are not this user's or a link to
    elsewhere. Raises ValueError then, and where others may enter it.
    """
    path = base / f"{name}-{os.getuid()}"
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()  # of the entry itself, not of what a link leads to
    if not stat.S_ISDIR(found.st_mode):
        wrong = "is no folder"
    elif found.st_uid != os.getuid():
        wrong = f"belongs to another user (number {found.st_uid})"
    elif found.st_mode & 0o077:
        wrong = f"may be entered by others (mode {stat.S_IMODE(found.st_mode):o})"
    else:
        return path
    raise ValueError(f"{path} {wrong}; remove it, or set TMPDIR to a folder of your own")
