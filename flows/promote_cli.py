"""Which model of a work folder is in use: `fye retrain-weekly`, `promote`, `rollback`, `promoted`, and `notify`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from flows.options import (
    TOLD,
    Device,
    FollowLinks,
    Json,
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

if TYPE_CHECKING:
    from tasks.engine.store import Store
    from tasks.workspace.promoted import OfferedModel

Why = Annotated[str, Parameter(help="Kept in the history.")]


def promote(
    *,
    work: Work = "work/retrain",
    model: Annotated[str | None, Parameter(help="Its id; None is the one that was trained last.")] = None,
    why: Why = "by hand",
) -> int:
    """Put a trained model to use, whatever the rule says of it; the one in use before is kept."""
    from tasks.engine.store import existing_store
    from tasks.workspace.promoted import promote as point_to

    store = existing_store(work)
    chosen = point_to(store, model, why)
    print(f"in use: {chosen.id}, {_place(store, chosen)}")
    return 0


def rollback(*, work: Work = "work/retrain", why: Why = "by hand") -> int:
    """Go back to the model that was in use before the one in use was promoted."""
    from tasks.engine.store import existing_store
    from tasks.workspace.promoted import roll_back

    store = existing_store(work)
    chosen = roll_back(store, why)
    print(f"in use again: {chosen.id}, {_place(store, chosen)}")
    return 0


def promoted(*, work: Work = "work/retrain", json: Json = False) -> int:
    """Which model is in use, which waits, and how that came about."""
    from tasks.engine.store import existing_store
    from tasks.workspace.promoted import read_promotions

    store = existing_store(work)
    found = read_promotions(store)
    place = None if found.current is None else _place(store, found.models[found.current])
    lines = []
    for event in found.events:
        before = f" in place of {event.before}" if event.before else ""
        lines.append(f"{event.at}  {event.action} {event.model}{before}: {event.why}")
    lines.append(f"no model of {work} is in use yet" if place is None else f"in use: {found.current}, {place}")
    if found.offered not in (None, found.current):
        lines.append(f"trained last: {found.offered} (fye promote --work {work} puts it to use)")
    events = [event.model_dump(mode="json") for event in found.events]
    told = {"in_use": found.current, "folder": place, "trained_last": found.offered, "events": events}
    Told(json=json).end(told, *lines)
    return 0


def _notify_create(
    *, webhook: Annotated[str, Parameter(help="Address that takes a POST of JSON with `text`, as chat programs do.")]
) -> int:
    """Tell a webhook when a run fails, and when a trained model is refused, waits for a person, or is put to use.

    Made on the server that PREFECT_API_URL names, in place of what an earlier call made.
    """
    from flows.notify import make_automations

    for name in make_automations(webhook):
        print(f"made: {name}")
    return 0


def _notify_remove() -> int:
    """Take the automations away again."""
    from flows.notify import remove_automations

    for name in remove_automations():
        print(f"removed: {name}")
    return 0


def _place(store: Store, model: OfferedModel) -> str:
    from tasks.workspace.publish import place_of

    return place_of(store, model.folder)


def register(app: App, run: Callable[..., int]) -> None:
    """Add the commands to the command line; `run` runs a flow."""

    def retrain_weekly(
        *,
        videos: Videos = None,
        source: SourceName = None,
        follow_links: FollowLinks = False,
        work: Work = "work/retrain",
        recipe: RecipeName = "paper",
        start: Annotated[
            Literal["nothing", "last"], Parameter(help="Train anew, or go on from the model in use.")
        ] = "nothing",
        approval: Annotated[
            bool, Parameter(help="A better model waits for `fye promote`, or, as a deployment, for Prefect's page.")
        ] = False,
        set_: Overrides = None,
        workers: Workers = 2,
        device: Device = "auto",
        processes: Processes = 1,
        told: Told = TOLD,
    ) -> int:
        """Refresh, train, evaluate, and put the model to use only if it is better than the one in use."""
        from tasks.workspace.recipes import check_weights

        runtime, overrides = runtime_and_recipe(set_, workers=workers, device=device, processes=processes)
        added = footage(videos, source, follow_links)
        check_weights(checked_recipe(recipe, overrides, work, **added))
        from flows.weekly import retrain_weekly as flow

        given = {"work": work, "recipe": recipe, "overrides": overrides, "runtime": runtime}
        return run(flow, 200, told=told, **added, **given, start=start, approval=approval)

    notify = App(name="notify", help="Have Prefect's server tell a webhook of failed runs and of trained models.")
    notify.command(_notify_create, name="create")
    notify.command(_notify_remove, name="remove")
    app.command(notify)
    app.command(retrain_weekly)
    for command in (promote, rollback, promoted):
        app.command(command)
