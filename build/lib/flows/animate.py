"""One portrait performs one video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.states import Completed

from fye_model.config import Runtime
from tasks.animate import AnimateRequest, sampling_of
from tasks.animate import animate as animate_portrait
from tasks.faces.landmarker import resolve_landmarker


@flow(name="animate", flow_run_name="animate {portrait} by {driving}", log_prints=False)
def animate(
    portrait: str,
    driving: str,
    model: str,
    output: str,
    face: str = "largest",
    paste_back: bool = False,
    side_by_side: bool = False,
    frames_fps: float | None = None,
    still_s: float = 2.0,
    sampling: dict[str, Any] | None = None,
    runtime: Runtime | None = None,
) -> Any:
    """Write a video in which the portrait performs the driving video's expressions.

    Args:
        portrait: an image.
        driving: a video, a folder of frames, a still picture, or a landmark table that a run stored.
        model: a model folder.
        output: the mp4 to write.
        face: which face of the portrait: `largest`, or its number from the left, from 0.
        paste_back: put the animated square back into the whole picture.
        side_by_side: show portrait, driver and result beside each other.
        frames_fps: rate of a folder of frames; the model's if not given.
        still_s: how long a still picture as driver is held, in seconds.
        sampling: settings on top of those that the model was evaluated with, such as `steps` or `seed`.
        runtime: device and landmark model.
    """
    runtime = runtime or Runtime()
    request = AnimateRequest(
        portrait=Path(portrait),
        driving=Path(driving),
        model=Path(model),
        output=Path(output),
        face=face,
        paste_back=paste_back,
        side_by_side=side_by_side,
        frames_fps=frames_fps,
        still_s=still_s,
        sampling=sampling_of(Path(model), sampling or {}),
        device=runtime.device,
    )
    result = task(name="animate", cache_policy=NO_CACHE)(animate_portrait)(
        request, asset=resolve_landmarker(runtime.assets), log=get_run_logger().info
    )
    return Completed(message=output, data={**result.model_dump(mode="json"), "outputs": {"video": output}})
