"""Which version of this software runs, as the installed package and the source tree say."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = "follow-your-emoji"
_ROOT = Path(__file__).resolve().parents[1]


def _installed() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:  # a source tree that nobody installed
        return "(not installed)"


__version__ = _installed()


def this_software() -> str:
    """Name and version of this package, as stored with what it writes."""
    return f"{PACKAGE} {__version__}"


def source_commit(root: Path = _ROOT) -> str | None:
    """The commit of the source tree that runs, followed by `+changes` where its files are not that commit's.

    None where this is no git checkout, or git cannot say.
    """
    if not (root / ".git").exists():
        return None
    words = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
