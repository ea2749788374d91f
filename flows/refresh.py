"""The data-set refresh: takes what is new or changed since the last run, keeps what is there."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.ending import finish_run, stopping
from flows.running import running
from flows.wiring import prepare_clips, prepare_data, score_lips, with_data
from fye_model.config import Runtime
from tasks.footage.shards import Shard
from tasks.workspace.run import open_run
from tasks.workspace.sources import Root, register_root
from tasks.workspace.steps import Steps
from tasks.workspace.summary import Results


@flow(name="refresh", flow_run_name="refresh {work}", log_prints=False)
def refresh(
    videos: str | None = None,
    source: str | None = None,
    follow_links: bool = False,
    work: str = "work/retrain",
    recipe: str = "paper",
    overrides: list[str] | None = None,
    runtime: Runtime | None = None,
    steps: Steps | None = None,
    shard: str | None = None,
) -> Any:
    """Bring the data set of a work folder up to date with its video folders, and say what was added, dropped and why.

    Args:
        videos: a further folder of videos for the data set; None looks again at those that it has.
        source: what they are of: a name of `fye sources list`, or the path of a source.yaml.
        follow_links: take what links to files and folders elsewhere lead to.
        work: the work folder, or any fsspec address.
        recipe: `paper`, `demo` or a YAML file.
        overrides: settings on top of the recipe, as `key.path=value`.
        runtime: workers, devices and limits: what changes speed, never results.
        steps: a part of the run alone: up to a stage, one stage, one made again, the first videos.
        shard: `2/4` for the second of four parts, each of which makes the clips and landmarks of its own files. When
            all are done, a refresh without it judges and splits the whole.
    """
    part = None if shard is None else Shard.parse(shard)
    run = open_run(work, recipe, overrides or [], runtime or Runtime(), steps)
    with running(run, "refresh"), stopping(run, "refresh") as stopped:
        if videos is not None:
            register_root(run.store, Root(videos, None, source, follow_links))
        if part is not None:
            score_lips(run, prepare_clips(run, part)[0])
            return finish_run(run, f"refresh, shard {part}", Results())
        return finish_run(run, "refresh", with_data(run, prepare_data(run)))
    return stopped.state
