"""Ray started while Prefect's server starts, where a run is sure to have clips to work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def early_ray(parameters: Mapping[str, Any]) -> Callable[[], None] | None:
    """What starts Ray for a flow that is called with these; None where it may find everything done, or needs no Ray.

    Sure to have work is, of the flows that take videos, one in a work folder in which no clip was cut yet, and one
    that is given a folder which is new to it. Ray is started in this thread, because only the main one can keep signals
    as they are.
    """
    runtime, work = parameters.get("runtime"), str(parameters.get("work", ""))
    footage = [parameters[name] for name in ("videos", "folder") if name in parameters]
    if not footage or runtime is None or not runtime.workers or work.startswith("memory:"):
        return None
    if not _new_work(work, footage[0]):
        return None
    from tasks.engine.cluster import start_ray

    return start_ray


def _new_work(work: str, videos: str | None) -> bool:
    from tasks.clips import CLIPS
    from tasks.engine.store import Store, is_missing
    from tasks.workspace.sources import registered_roots

    if is_missing(work):
        return True
    store = Store(work)
    if not store.names(f"items/{CLIPS.name}"):
        return True
    known = {Path(root.path) for root in registered_roots(store)}
    return videos is not None and Path(videos).expanduser().resolve() not in known
