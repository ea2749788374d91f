"""Which assets are on this machine, where, and whether they are what they should be; and the fetching of some."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Literal

from fye_model.asset_files import cache_folder, package_file, places, problem
from fye_model.assets import ASSETS, Asset
from fye_model.config import Recipe
from tasks.faces.landmarker import download

State = Literal["present", "missing", "wrong"]


@dataclass(frozen=True)
class Look:
    """An asset as it is here.

    path, chosen_by: where it was found, and what named that place. problem: what is wrong with it.
    """

    asset: Asset
    state: State
    path: Path | None = None
    chosen_by: str = ""
    problem: str = ""


def look_for(assets: Sequence[Asset] = ASSETS, folder: Path | None = None, recipe: Recipe | None = None) -> list[Look]:
    """Look for assets where the software does: the recipe's settings, `folder`, FYE_ASSETS, the cache.

    The first place that has something is the one that counts, also where it has the wrong thing.
    """
    return [_look(asset, folder, recipe) for asset in assets]


def find_asset(name: str) -> Asset:
    """The asset of that name; ValueError with all names for another."""
    for asset in ASSETS:
        if asset.name == name:
            return asset
    raise ValueError(f"no asset is called {name!r}; there are {', '.join(asset.name for asset in ASSETS)}")


def fetch(asset: Asset, folder: Path | None = None) -> Look:
    """Download an asset into the cache, unless it is here; returns where it is.

    Raises ValueError for one that is not for us to download, for a wrong file in its place, and where the address
    cannot be read; the message says what to do instead.
    """
    found = _look(asset, folder, None)
    if found.state == "wrong":
        raise ValueError(found.problem)
    if found.state == "present":
        return found
    if asset.module is not None:
        raise ValueError(f"{asset.name} is not downloaded by this software: it comes with {asset.source}")
    if not asset.fetched or asset.sha256 is None:
        named = f" and name it in the recipe as {asset.setting}" if asset.setting else ""
        raise ValueError(
            f"{asset.name} is not downloaded by this software (licence: {asset.licence}). Get it from {asset.source}, "
            f"put it at {asset.place} in a folder that FYE_ASSETS names{named}"
        )
    path = cache_folder() / asset.place
    try:
        download(asset.source, path, asset.sha256)
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(
            f"{asset.name} could not be fetched from {asset.source}: {getattr(error, 'reason', None) or error}. "
            f"Without a network, get it on another machine, put it at {asset.place} in a folder and set FYE_ASSETS to "
            "that folder"
        ) from error
    return _look(asset, folder, None)


def _look(asset: Asset, folder: Path | None, recipe: Recipe | None) -> Look:
    for chosen_by, path in _places(asset, folder, recipe):
        if path.exists():
            wrong = problem(asset, path)
            return Look(asset, "wrong" if wrong else "present", path, chosen_by, wrong)
        if chosen_by == asset.setting:
            return Look(asset, "wrong", path, chosen_by, f"the recipe's {chosen_by} is {path}, which does not exist")
    return Look(asset, "missing")


def _places(asset: Asset, folder: Path | None, recipe: Recipe | None) -> Iterator[tuple[str, Path]]:
    """(what names the place, path) in the order in which they count."""
    if recipe is not None and asset.setting is not None:
        chosen = reduce(getattr, asset.setting.split("."), recipe)
        if isinstance(chosen, Path):
            yield asset.setting, chosen
    if asset.module is None:
        yield from places(asset.place, folder)
    elif shipped := package_file(asset.module, asset.place):
        yield f"the package of {asset.module}", shipped


def lines(looks: Sequence[Look]) -> Iterator[str]:
    """The table for people: a line for each asset, and below it where it is, what reads it and where it is from."""
    width = max(len(look.asset.name) for look in looks)
    for look in looks:
        asset, pad = look.asset, " " * (width + 2)
        yield f"{asset.name:<{width}}  {look.state.upper() if look.state == 'wrong' else look.state:<8} {asset.use}"
        if look.problem:
            yield f"{pad}  {look.problem}"
        elif look.path is not None:
            yield f"{pad}  {look.chosen_by}: {look.path} ({_known(asset, look.path)})"
            if asset.setting not in (None, look.chosen_by):
                yield f"{pad}  not used until a recipe has {asset.setting}: {look.path}"
        elif asset.module is not None:
            yield f"{pad}  looked for in the installed packages"
        else:
            named = f", or where a recipe's {asset.setting} says" if asset.setting else ""
            yield f"{pad}  looked for at {asset.place} in FYE_ASSETS and the cache{named}"
        yield f"{pad}  read by: {asset.reads}"
        yield f"{pad}  licence: {asset.licence}"
        fetch_it = f"; `fye assets fetch {asset.name}`" if asset.fetched and look.state == "missing" else ""
        yield f"{pad}  from: {asset.source}" + (f", sha256 {asset.sha256}" if asset.sha256 else "") + fetch_it


def _known(asset: Asset, path: Path) -> str:
    if path.is_dir():
        return "a folder; its files' sha256 are not known here"
    return "sha256 as expected" if asset.sha256 else "its sha256 is not known here"
