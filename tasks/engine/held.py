"""Temporary folders that last as long as the process that made them: held by a lock, which a kill lets go of, too."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK = "held"


class HeldFolder:
    """An empty folder of this user's alone below `base`. Those of the same prefix that nobody holds are removed."""

    def __init__(self, base: Path, prefix: str) -> None:
        left_folders(base, prefix, remove=True)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        self._lock = FileLock(self.path / _LOCK)
        self._lock.acquire()

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


def left_folders(base: Path, prefix: str, remove: bool = False) -> list[Path]:
    """Folders of this user's that nobody holds: their processes were killed. `remove` takes them away."""
    found = []
    for left in base.glob(f"{prefix}*"):
        with contextlib.suppress(Timeout, OSError):  # another process may be removing it
            if left.stat().st_uid == os.getuid() and (left / _LOCK).is_file():
                with FileLock(left / _LOCK, timeout=0):
                    found.append(left)
                    if remove:
                        shutil.rmtree(left, ignore_errors=True)
    return found
