"""Where assets lie on this machine, and whether what lies there is what it should be."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fye_model.assets import Asset
from fye_model.files import file_digest


def cache_folder() -> Path:
    """Folder for downloaded models: FYE_CACHE, or `follow-your-emoji` in the user's cache folder."""
    if chosen := os.environ.get("FYE_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "follow-your-emoji"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "follow-your-emoji"


def places(place: str, folder: Path | None = None) -> list[tuple[str, Path]]:
    """Where a file of assets is looked for, in order: (what named the folder, path)."""
    found = [("runtime.assets", Path(folder) / place)] if folder is not None else []
    if chosen := os.environ.get("FYE_ASSETS"):
        found.append(("FYE_ASSETS", Path(chosen).expanduser() / place))
    return [*found, ("cache", cache_folder() / place)]


def package_file(module: str, place: str) -> Path | None:
    """A file that an installed package ships, without importing the package; None where it is not there."""
    spec = find_spec(module)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        if (Path(folder) / place).is_file():
            return Path(folder) / place
    return None


def find(asset: Asset) -> Path | None:
    """The first of an asset's places that has something; None where none has."""
    if asset.module is not None:
        return package_file(asset.module, asset.place)
    return next((path for _, path in places(asset.place) if path.exists()), None)


def problem(asset: Asset, path: Path) -> str:
    """What is wrong with what lies at `path`; empty where nothing is known to be."""
    advice = f"delete it and get it from {asset.source}"
    if path.is_dir():
        if asset.sha256 is not None:
            return f"{path} is a folder, {asset.name} is a file: {advice}"
        return "" if any(path.iterdir()) else f"{path} is an empty folder: {advice}"
    if asset.sha256 is None:
        return "" if path.stat().st_size else f"{path} is an empty file: {advice}"
    found = digest(path)
    if found == asset.sha256:
        return ""
    return f"{path} is not {asset.name}: its sha256 is {found}, expected {asset.sha256}; {advice}"


def digest(path: Path) -> str:
    """sha256 of a file, read once in a process as long as it stays as it is."""
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


@cache
def _digest(path: Path, size: int, changed_ns: int) -> str:
    return file_digest(path)
