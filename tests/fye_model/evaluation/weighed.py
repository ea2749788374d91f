"""A folder of assets with weights of the published form, whose sha256 this process takes for the declared ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

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


@contextmanager
def counted(network: nn.Module) -> Iterator[list[int]]:
    """How often the network runs inside, as the length of a list."""
    runs: list[int] = []
    hook = network.register_forward_hook(lambda *_: runs.append(1))
    try:
        yield runs
    finally:
        hook.remove()
