"""Options that several commands share, and what is made of them before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

from cyclopts import Parameter

from fye_model.recipes import NAMED

if TYPE_CHECKING:
    from fye_model.config import Recipe, Runtime

Videos = Annotated[Path | None, Parameter(help="Folder of videos, or table of them (.csv, .parquet), to add.")]
SourceName = Annotated[
    str | None, Parameter(name="--source", help="What they are of: a name of `fye sources list`, or a source.yaml.")
]
FollowLinks = Annotated[bool, Parameter(help="Take what links to files and folders elsewhere lead to.", negative="")]
Work = Annotated[str, Parameter(help="Work folder, or any fsspec address. Everything is kept there.")]
RecipeName = Annotated[str, Parameter(help=f"{', '.join(f'`{name}`' for name in NAMED)} or a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        help="A setting on top of the recipe, or of the runtime (runtime.loader_workers=8): KEY.PATH=VALUE. May be "
        "given often.",
        negative="",
    ),
]
Workers = Annotated[int, Parameter(help="Processes for per-clip stages; 0 works in this process, without Ray.")]
Device = Annotated[str, Parameter(help="auto, cpu or cuda.")]
Processes = Annotated[int, Parameter(help="GPUs to train on.")]
Json = Annotated[bool, Parameter(help="Print JSON in place of text.", negative="")]
_RUNTIME = "runtime."


class Footage(TypedDict):
    """Videos to add to a data set, under the names that the flows have for them."""

    videos: str | None
    source: str | None
    follow_links: bool


def footage(videos: Path | None, source: str | None = None, follow_links: bool = False) -> Footage:
    """What a command's options say of videos, for a flow's parameters."""
    return {"videos": None if videos is None else str(videos), "source": source, "follow_links": follow_links}


def checked_recipe(
    recipe: str,
    overrides: Sequence[str],
    work: str,
    videos: str | None = None,
    source: str | None = None,
    follow_links: bool = False,
) -> Recipe:
    """Look at what was asked for before anything starts, so that a slip of the pen costs no start-up; the recipe.

    Raises ValueError for a recipe, a work folder or videos that cannot be taken.
    """
    from tasks.engine.store import Store
    from tasks.workspace.recipes import load_recipe
    from tasks.workspace.sources import Root, checked_root

    resolved = load_recipe(recipe, overrides)
    Store(work)
    if videos is not None:
        checked_root(Root(videos, None, source, follow_links))
    return resolved


def runtime_and_recipe(set_: Sequence[str] | None, **options: int | str) -> tuple[Runtime, list[str]]:
    """The runtime of a command's options and its `--set runtime.…`, and the other settings, which are the recipe's.

    Raises ValueError for what is no runtime setting, for one given twice over, and for a GPU that is not there.
    """
    from pydantic import ValidationError

    from fye_model.config import Runtime
    from tasks.workspace.recipes import explain_problems, parse_overrides

    ours = [setting for setting in set_ or [] if setting.lstrip().startswith(_RUNTIME)]
    rest = [setting for setting in set_ or [] if setting not in ours]
    found = parse_overrides(ours).get("runtime")
    given = found if isinstance(found, dict) else {}
    if both := sorted(given.keys() & options.keys()):
        raise ValueError(f"--set runtime.{both[0]}: give --{both[0]} instead")
    try:
        runtime = Runtime.model_validate({**options, **given})
    except ValidationError as error:
        raise ValueError("; ".join(explain_problems(error, Runtime))) from error
    if runtime.device == "cuda":
        from fye_model.devices import choose_device

        choose_device("cuda")
    return runtime, rest
