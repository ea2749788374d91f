"""Which version of this software runs, as the installed package says."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PACKAGE = "follow-your-emoji"


def _installed() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:  # a source tree that nobody installed
        return "(not installed)"


__version__ = _installed()


def this_software() -> str:
    """Name and version of this package, as stored with what it writes."""
    return f"{PACKAGE} {__version__}"
