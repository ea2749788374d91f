"""`fye studio`: a page on which a portrait is animated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.options import Device, runtime_and_recipe

_LOOPBACK = "127.0.0.1"


def register(app: App) -> None:
    """Add the command to the command line."""

    @app.command
    def studio(
        *,
        model: Annotated[Path, Parameter(help="Model folder, such as WORK/model after a retrain.")],
        device: Device = "auto",
        port: Annotated[int | None, Parameter(help="The first free one from 7860 on, if not given.")] = None,
        host: Annotated[
            str,
            Parameter(help="Address to serve at. Beyond 127.0.0.1 others reach the page: no password, no encryption."),
        ] = _LOOPBACK,
        upload_mb: Annotated[float, Parameter(help="Largest file that may be brought, in MB.")] = 500.0,
    ) -> int:
        """Open a page to animate portraits on: points, strengths, preview, result. Keeps nothing when it is closed."""
        from tasks.studio.extra import need_gradio

        need_gradio()
        from tasks.faces.landmarker import resolve_landmarker
        from tasks.jobs.studio import StudioSettings, serve_studio

        runtime, _ = runtime_and_recipe([], device=device)
        settings = StudioSettings(model, device, host, port, upload_mb)
        serve_studio(settings, resolve_landmarker(runtime.assets))
        return 0
