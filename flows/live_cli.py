"""`fye live`: a portrait performs what a camera shows."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import IO, Annotated

from cyclopts import App, Parameter

from flows.animate_cli import Faces, Motion, transfer_of
from flows.options import TOLD, Device, Told, runtime_and_recipe

_FACES, _MOTION = Faces(), Motion()


def register(app: App) -> None:
    """Add the command to the command line."""

    @app.command
    def live(
        portrait: Annotated[Path, Parameter(help="An image.")],
        source: Annotated[
            str,
            Parameter(help="A camera (/dev/video0), a stream (rtsp://…, http, udp, …), or a file, at its own speed."),
        ],
        *,
        model: Annotated[Path, Parameter(help="Model folder, such as WORK/model after a retrain.")],
        output: Annotated[
            str,
            Parameter(
                help="NAME.ts or NAME.mkv, which grow; an address, such as udp://…; - for a pipe (MPEG-TS).",
                allow_leading_hyphen=True,
            ),
        ] = "-",
        window: Annotated[
            int, Parameter(help="Frames drawn together: fewer are sooner, more are faster on a GPU.")
        ] = 8,
        faces: Faces = _FACES,
        motion: Motion = _MOTION,
        seed: Annotated[int | None, Parameter(help="Of the noise.")] = None,
        set_: Annotated[
            list[str] | None,
            Parameter(name="--set", help="A sampling setting, as KEY=VALUE: steps=10 …", negative=""),
        ] = None,
        device: Device = "auto",
        told: Told = TOLD,
    ) -> int:
        """Animate a portrait as a camera, a stream or a played file goes on: fye live … | ffplay -. Ctrl-C ends it."""
        from pydantic import ValidationError

        from tasks.faces.landmarker import resolve_landmarker
        from tasks.jobs.animate import sampling_of
        from tasks.jobs.live import LiveRequest, check_live_request
        from tasks.jobs.live import live as run_live
        from tasks.workspace.recipes import explain_problems, parse_overrides

        sampling = parse_overrides(set_ or []) | ({} if seed is None else {"seed": seed})
        if "window" in sampling:
            raise ValueError("--set window: give --window instead")
        places = {"portrait": portrait, "source": source, "model": model, "output": output, "window": window}
        how = {**vars(faces), "transfer": transfer_of(motion), "sampling": sampling_of(model, sampling)}
        try:
            request = LiveRequest.model_validate({**places, **how, "device": device})
        except ValidationError as error:
            raise ValueError("; ".join(explain_problems(error, LiveRequest))) from error
        check_live_request(request)
        runtime, _ = runtime_and_recipe([], device=device)
        asset = resolve_landmarker(runtime.assets)
        pipe = _stdout_for_video(told) if output == "-" else None
        made = run_live(request, asset, _stopped_by_signals(), told.log, pipe)
        told.end(made.model_dump(mode="json"), made.line())
        if made.ended is not None:
            told.log(f"ended: {made.ended}")
        return 0


def _stopped_by_signals() -> threading.Event:
    """What Ctrl-C and SIGTERM set; a second one ends the process as usual."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def set_stop(number: int, frame: object) -> None:
        stop.set()
        for kind, handler in before.items():
            signal.signal(kind, handler)

    for number in before:
        signal.signal(number, set_stop)
    return stop


def _stdout_for_video(told: Told) -> IO[bytes]:
    """Stdout for the video alone; what is printed from here on goes to stderr. Raises ValueError for a terminal."""
    if sys.stdout.isatty():
        raise ValueError(
            "the video would go to the terminal: give --output NAME.ts, or a player: fye live … | ffplay -"
        )
    if told.json:
        raise ValueError("--json ends with JSON on stdout, where the video goes: give --output NAME.ts")
    sys.stdout.flush()
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return pipe
