"""A data set packed for a machine that trains with the library alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.ending import finish_run
from flows.running import running
from flows.wiring import prepare_data, with_data
from fye_model.config import Runtime
from tasks.pack import PACK, write_pack
from tasks.workspace.dataset import whole_inputs
from tasks.workspace.run import open_run
from tasks.workspace.sources import Root, register_root
from tasks.workspace.summary import Results


@flow(name="pack", flow_run_name="pack {work}", log_prints=False)
def pack(
    output: str,
    videos: str | None = None,
    work: str = "work/retrain",
    recipe: str = "paper",
    overrides: list[str] | None = None,
    runtime: Runtime | None = None,
    source: str | None = None,
) -> Any:
    """Bring the data set up to date and copy what training takes into a folder for another machine.

    Args:
        output: the folder of the pack; one that is there is replaced.
        videos: a further folder of videos for the data set; None looks again at those that it has.
        work: the work folder, or any fsspec address.
        recipe: `paper`, `demo` or a YAML file; it travels with the pack.
        overrides: settings on top of the recipe, as `key.path=value`.
        runtime: workers, devices and limits: what changes speed, never results.
        source: what `videos` are of: a card's name or a source.yaml; None: a folder of anybody's videos.
    """
    run = open_run(work, recipe, overrides or [], runtime or Runtime())
    with running(run, "pack"):
        if videos is not None:
            register_root(run.store, Root(videos, None, source))
        data = prepare_data(run)
        kept = data.kept()
        inputs = whole_inputs(kept, "video", "landmarks", "masks")
        packed = run.stage(PACK, run.one_item("pack", kept, inputs))
        place = write_pack(run.store, packed.only, Path(output))
        return finish_run(run, "pack", with_data(run, data, Results(outputs={"pack": str(place)})))
