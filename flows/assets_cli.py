"""`fye assets`: every file from elsewhere that this software can use, and whether it is here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.options import RecipeName

assets_app = App(name="assets", help="Models and weights from elsewhere: what for, licence, source, present or not.")
Folder = Annotated[Path | None, Parameter(help="A folder of assets to look into first, before FYE_ASSETS.")]


@assets_app.default
def show(*, recipe: RecipeName = "paper", folder: Folder = None) -> int:
    """List every asset, and whether it is here. Ends with 1 where one is not what it should be."""
    from tasks.jobs.assets import lines, look_for
    from tasks.workspace.recipes import load_recipe

    looks = look_for(folder=_checked(folder), recipe=load_recipe(recipe, []))
    for line in lines(looks):
        print(line)
    wrong = [look.asset.name for look in looks if look.state == "wrong"]
    if wrong:
        print(f"fye: not what they should be: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


@assets_app.command
def fetch(
    name: Annotated[str, Parameter(help="An asset's name, as `fye assets` lists it.")], *, folder: Folder = None
) -> int:
    """Download an asset into the cache, if it is not here and may be downloaded."""
    from tasks.jobs.assets import fetch as fetch_asset
    from tasks.jobs.assets import find_asset, lines

    for line in lines([fetch_asset(find_asset(name), _checked(folder))]):
        print(line)
    return 0


def _checked(folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        raise ValueError(f"--folder {folder} is no folder")
    return folder


def register(app: App) -> None:
    """Add the commands to the command line."""
    app.command(assets_app)
