"""One newly captured subject, appended to the data set without recomputing the rest."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.ending import finish_run
from flows.wiring import prepare_data, with_data
from fye_model.config import Runtime
from tasks.workspace.run import open_run, recorded
from tasks.workspace.sources import Root, register_root


@flow(name="capture", flow_run_name="capture {subject} into {work}", log_prints=False)
def capture(
    folder: str,
    subject: str,
    source: str | None = "captured",
    follow_links: bool = False,
    work: str = "work/retrain",
    recipe: str = "paper",
    overrides: list[str] | None = None,
    runtime: Runtime | None = None,
) -> Any:
    """Add a folder of one person's videos to the data set of a work folder.

    Args:
        folder: the videos of this subject.
        subject: the name that keeps this person's clips together; a subject never stands in two splits.
        source: what they are of: a name of `fye sources list`, or the path of a source.yaml.
        follow_links: take what links to files and folders elsewhere lead to.
        work: the work folder, or any fsspec address.
        recipe: `paper`, `demo` or a YAML file: the one that the data set was made with.
        overrides: settings on top of the recipe, as `key.path=value`.
        runtime: workers, devices and limits: what changes speed, never results.
    """
    run = open_run(work, recipe, overrides or [], runtime or Runtime())
    with recorded(run, "capture"):
        register_root(run.store, Root(folder, subject, source, follow_links))
        return finish_run(run, "capture", with_data(run, prepare_data(run)))
