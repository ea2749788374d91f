"""One portrait performs one video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed

from fye_model.config import Runtime
from fye_model.devices import choose_device
from tasks.engine.limits import gpus_held
from tasks.faces.landmarker import resolve_landmarker
from tasks.jobs.animate import AnimateRequest, AnimateSettings, sampling_of
from tasks.jobs.animate import animate as animate_portrait


def _run_name() -> str:
    """A short one: it stands on every line of the log."""
    return f"animate {Path(flow_run.parameters['portrait']).stem[:20]}"


@flow(name="animate", flow_run_name=_run_name, log_prints=False)
def animate(
    portrait: str,
    driving: str,
    model: str,
    output: str,
    settings: AnimateSettings | None = None,
    sampling: dict[str, object] | None = None,
    fast: bool = False,
    runtime: Runtime | None = None,
) -> Any:
    """Write a video in which the portrait performs the driving video's expressions.

    Args:
        portrait: an image.
        driving: a video, a folder of frames, a still picture, or a landmark table that a run stored.
        model: a model folder.
        output: what to write, in the form that its ending says.
        settings: which faces, what is taken over of the driver, and how the result is shown.
        sampling: settings on top of those that the model was evaluated with, such as `steps` or `seed`.
        fast: compute about a quarter of the steps, and continue the others.
        runtime: device and landmark model.
    """
    runtime = runtime or Runtime()
    request = AnimateRequest(
        portrait=Path(portrait),
        driving=Path(driving),
        model=Path(model),
        output=Path(output),
        sampling=sampling_of(Path(model), sampling or {}, fast),
        device=runtime.device,
        **dict(settings or AnimateSettings()),
    )
    with gpus_held(choose_device(runtime.device), 1, f"animate {output}", runtime.share_gpu):
        result = task(name="animate", cache_policy=NO_CACHE)(animate_portrait)(
            request, asset=resolve_landmarker(runtime.assets), log=get_run_logger().info
        )
    return Completed(message=output, data={**result.model_dump(mode="json"), "outputs": {"video": output}})
