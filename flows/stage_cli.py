"""`fye plan` and `fye stage`: what a run would do, and one stage on one item, for people who look into the pipeline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.options import (
    ALL,
    Device,
    FlowName,
    FollowLinks,
    Overrides,
    Part,
    RecipeName,
    SourceName,
    Videos,
    Work,
    Workers,
    runtime_and_recipe,
)


def plan(
    flow: FlowName,
    *,
    videos: Videos = None,
    source: SourceName = None,
    follow_links: FollowLinks = False,
    work: Work = "work/retrain",
    recipe: RecipeName = "paper",
    set_: Overrides = None,
    subject: Annotated[str | None, Parameter(help="With capture: the name of the person in --videos.")] = None,
    model: Annotated[Path | None, Parameter(help="With evaluate: the model folder.")] = None,
    workers: Workers = 2,
    device: Device = "auto",
    part: Part = ALL,
) -> int:
    """Say what a flow would do: per stage what is done, what is to do, what it takes and how long. Does no work."""
    from flows.plan import plan as plan_flow
    from tasks.workspace.planned import plan_lines
    from tasks.workspace.sources import Root

    if (flow == "evaluate") != (model is not None):
        raise ValueError("--model belongs to `fye plan evaluate`, which needs it")
    if subject is not None and (flow != "capture" or videos is None):
        raise ValueError("--subject belongs to `fye plan capture --videos DIR`")
    steps = part.steps(flow)
    runtime, overrides = runtime_and_recipe(set_, workers=workers, device=device)
    if flow == "evaluate":
        overrides = [*overrides, "split.by=all"]
    more = [] if videos is None else [Root(str(videos), subject, source, follow_links)]
    for line in plan_lines(plan_flow(flow, work, recipe, overrides, runtime, more, model, steps)):
        print(line)
    return 0


def stage(
    name: Annotated[str, Parameter(help="A stage, such as landmarks; `fye plan retrain` lists them.")],
    *,
    clip: Annotated[str | None, Parameter(help="The item: its name or id, or a part that only one has.")] = None,
    work: Work = "work/retrain",
    recipe: RecipeName = "paper",
    set_: Overrides = None,
    output: Annotated[Path | None, Parameter(help="Keep what it makes in this new folder.")] = None,
    overlay: Annotated[bool, Parameter(help="Draw what it made over the clip, as overlay.png.", negative="")] = False,
    pdb: Annotated[bool, Parameter(help="Open the debugger where it fails.", negative="")] = False,
    device: Device = "auto",
) -> int:
    """Work on one item of one stage in this process, and compare with what is stored. Changes nothing there.

    Ends with 1 when it differs.
    """
    import tempfile

    from flows.plan import locate
    from tasks.jobs.replay import choose_item, replay, replay_lines

    runtime, overrides = runtime_and_recipe(set_, workers=0, device=device)
    run, located = locate(name, work, recipe, overrides, runtime)
    item = choose_item(located.items, clip)
    if output is not None and output.exists():
        raise ValueError(f"--output {output} exists already; name a new folder")
    with tempfile.TemporaryDirectory(prefix="fye-stage-") as scratch:
        out = output or Path(scratch) / "out"
        out.mkdir(parents=True)
        try:
            found = replay(run.store, located.stage, located.settings, item, runtime, run.landmarker, out)
        except Exception:
            if not pdb:
                raise
            import pdb as debugger

            debugger.post_mortem(sys.exc_info()[2])
            return 1
        for line in replay_lines(found, kept=output is not None):
            print(line)
        if overlay:
            from tasks.results.overlay import overlay as draw
            from tasks.results.pictures import save_png

            picture = Path("overlay.png") if output is None else output / "overlay.png"
            save_png(draw(name, found.item.files, out), picture)
            print(f"  overlay     {picture}")
    return 1 if found.differences else 0


def register(app: App) -> None:
    """Add both commands to the command line."""
    app.command(plan)
    app.command(stage)
