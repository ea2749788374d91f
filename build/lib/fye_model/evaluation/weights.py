"""Weight files that some metrics need: which are here, what is said where they are not, and whether they are right.

They are looked for in FYE_ASSETS and the cache, under the places that `fye_model/assets.py` declares.
"""

from __future__ import annotations

from pathlib import Path

from fye_model import asset_files
from fye_model.assets import ASSETS, Asset

_ASSETS = {asset.name: asset for asset in ASSETS if asset.metrics and asset.module is None}


def lacking(*names: str) -> str | None:
    """Why metrics that need these assets cannot be computed; None where all are there."""
    absent = [_ASSETS[name] for name in names if asset_files.find(_ASSETS[name]) is None]
    return f"needs {' and '.join(_told(asset) for asset in absent)}" if absent else None


def weight_file(name: str) -> Path:
    """The file of an asset. Raises ValueError where it is not here, or is not what it should be."""
    asset = _ASSETS[name]
    path = asset_files.find(asset)
    if path is None:
        raise ValueError(f"{asset.use}: needs {_told(asset)}")
    if wrong := asset_files.problem(asset, path):
        raise ValueError(wrong)
    return path


def weights_here() -> tuple[str, ...]:
    """The weights of metrics that are there, as `name sha256`: they change results, so they belong in keys.

    Raises ValueError that names every one that is not what it should be, before anything is computed with it.
    """
    there = [(asset, path) for asset in _ASSETS.values() if (path := asset_files.find(asset)) is not None]
    wrong = [text for asset, path in there if (text := asset_files.problem(asset, path))]
    if wrong:
        raise ValueError("weights of metrics are not what they should be:\n" + "\n".join(f"  {text}" for text in wrong))
    return tuple(f"{asset.name} {asset_files.digest(path)[:16]}" for asset, path in there)


def _told(asset: Asset) -> str:
    how = f"`fye assets fetch {asset.name}`" if asset.fetched else f"`fye assets` says from where; {asset.licence}"
    return f"the weights {asset.place} in FYE_ASSETS or the cache ({how})"
