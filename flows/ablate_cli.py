"""`fye ablate`: the paper's Table 2 on your own data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from cyclopts import App, Parameter

from flows.options import (
    TOLD,
    Device,
    FollowLinks,
    Overrides,
    Processes,
    RecipeName,
    SourceName,
    Told,
    Videos,
    Work,
    Workers,
    checked_recipe,
    footage,
    runtime_and_recipe,
)
from fye_model.ablations import ABLATION_NAMES, FULL

_NAMES = ", ".join(f"`{name}`" for name in ABLATION_NAMES if name != FULL)


def register(app: App, run: Callable[..., int]) -> None:
    """Add the command to the command line. run: runs a flow here."""

    @app.command
    def ablate(
        *,
        videos: Videos = None,
        source: SourceName = None,
        follow_links: FollowLinks = False,
        work: Work = "work/retrain",
        recipe: RecipeName = "paper",
        set_: Overrides = None,
        variant: Annotated[
            list[str] | None, Parameter(help=f"{_NAMES}. May be given often; all without it.", negative="")
        ] = None,
        seeds: Annotated[int, Parameter(help="Seeds of training for each variant, the recipe's own first.")] = 1,
        workers: Workers = 2,
        device: Device = "auto",
        processes: Processes = 1,
        told: Told = TOLD,
    ) -> int:
        """Train the method and its variants, and tell what each part is worth. Goes on where an earlier run stopped."""
        from tasks.engine.store import Store
        from tasks.workspace.ablated import ABLATION_FOLDER
        from tasks.workspace.recipes import check_weights
        from tasks.workspace.variants import variants_of

        runtime, overrides = runtime_and_recipe(set_, workers=workers, device=device, processes=processes)
        added = footage(videos, source, follow_links)
        resolved = checked_recipe(recipe, overrides, work, **added)
        variants_of(resolved, variant or [], seeds)
        check_weights(resolved)
        from flows.ablate import ablate as flow  # Prefect takes seconds to import

        rest = {"overrides": overrides, "variants": variant, "seeds": seeds, "runtime": runtime}
        root = Store(work).local_root
        table = None if root is None else root / ABLATION_FOLDER / "table.md"
        return run(flow, 10, table, told=told, **added, work=work, recipe=recipe, **rest)
