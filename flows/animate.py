"""One portrait performs one video."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.wiring import animate_portrait
from fye_model.config import Runtime


@flow(name="animate", flow_run_name="animate {portrait} by {driving}", log_prints=False)
def animate(
    portrait: str,
    driving: str,
    model: str,
    output: str,
    face: str = "largest",
    paste_back: bool = False,
    side_by_side: bool = False,
    overrides: list[str] | None = None,
    runtime: Runtime | None = None,
) -> Any:
    """Write a video in which the portrait performs the driving video's expressions.

    Args:
        portrait: an image.
        driving: a video, or a landmark table that `retrain` or `animate` stored.
        model: a model folder.
        output: the mp4 to write.
        face: which face of the portrait: `largest`, or its number from the left, from 0.
        paste_back: put the animated square back into the whole picture.
        side_by_side: show portrait, driver and result beside each other.
        overrides: settings of the recipe's `sampling` part, as `sampling.key=value`.
        runtime: device and landmark model.
    """
    return animate_portrait(
        portrait=portrait,
        driving=driving,
        model=model,
        output=output,
        face=face,
        paste_back=paste_back,
        side_by_side=side_by_side,
        overrides=overrides or [],
        runtime=runtime or Runtime(),
    )
