"""Options that several commands share, and what is made of them before anything starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from cyclopts import Group, Parameter

from fye_model.recipes import NAMED

if TYPE_CHECKING:
    from fye_model.config import Recipe, Runtime
    from tasks.workspace.steps import Steps

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
FlowName = Literal["retrain", "refresh", "capture", "evaluate"]  # that may be planned, or run in part
Json = Annotated[bool, Parameter(help="Print JSON in place of text.", negative="")]
_RUNTIME = "runtime."
_PART = Group("A part of the run", sort_key=1)
_TOLD = Group("What is told", sort_key=2)


@Parameter(name="*", group=_PART)
@dataclass(frozen=True)
class Part:
    """Options for a part of a run; see `Steps`."""

    until: Annotated[str | None, Parameter(help="Stop after this stage, such as landmarks.")] = None
    only: Annotated[str | None, Parameter(help="Work on this stage alone; those before must be done.")] = None
    force: Annotated[
        list[str] | None,
        Parameter(help="Make this stage's outputs again, whatever is there. May be given often.", negative=""),
    ] = None
    limit: Annotated[int | None, Parameter(help="Take only so many videos, the first ones.")] = None

    def steps(self, flow: FlowName) -> Steps:
        """Checked against the stages of the flow. Raises ValueError for a stage that it does not have."""
        from pydantic import ValidationError

        from tasks.workspace.recipes import explain_problems
        from tasks.workspace.steps import Steps

        if self.only is not None and self.until is not None:
            raise ValueError("--only and --until: give one of them")
        try:
            steps = Steps(force=tuple(self.force or ()), only=self.only, until=self.until, limit=self.limit)
        except ValidationError as error:
            raise ValueError("; ".join(explain_problems(error, Steps))) from error
        if steps.named():
            from flows.plan import stages_of

            names = [stage.name for stage in stages_of(flow)]
            for unknown in (name for name in steps.named() if name not in names):
                raise ValueError(f"{flow} has no stage {unknown!r}; its stages are {', '.join(names)}")
        return steps


@Parameter(name="*", group=_TOLD)
@dataclass(frozen=True)
class Told:
    """Options about what a command says of its run."""

    quiet: Annotated[bool, Parameter(help="Only warnings and errors.", negative="")] = False
    json: Annotated[bool, Parameter(help="End with the run's summary as JSON, alone on stdout.", negative="")] = False

    def log(self, line: str) -> None:
        """A line of work that is done in this process: not on stdout where JSON is, with --quiet only a warning."""
        if not self.quiet or line.startswith("WARNING"):
            print(line, file=sys.stderr if self.quiet or self.json else sys.stdout, flush=True)

    def warn(self, line: str) -> None:
        """What a quiet command says too: of an input that was left out, say."""
        if self.quiet:
            print(f"fye: {line}", file=sys.stderr)

    def end(self, found: object, *lines: str) -> None:
        """How a command ends: `found` as JSON, or in lines, or with nothing."""
        if self.json:
            print(json.dumps(found, indent=1, sort_keys=True))
        elif not self.quiet:
            print("\n".join(lines))


ALL, TOLD = Part(), Told()


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
    if videos is not None:
        checked_root(Root(videos, None, source, follow_links))
    Store(work)  # makes it, so it comes last
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
