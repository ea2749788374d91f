"""A folder of assets with weights of the published form, whose sha256 this process takes for the declared ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fye_model.evaluation import weights
from fye_model.files import file_digest


def give(monkeypatch: pytest.MonkeyPatch, folder: Path, files: dict[str, Path]) -> None:
    """Puts files, by the names of their assets, where FYE_ASSETS says, and lets them pass for what was published."""
    monkeypatch.setenv("FYE_ASSETS", str(folder))
    monkeypatch.setenv("FYE_CACHE", str(folder / "cache"))
    for name, file in files.items():
        asset = weights._ASSETS[name]
        place = folder / asset.place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file)
        monkeypatch.setitem(weights._ASSETS, name, replace(asset, sha256=file_digest(file)))
