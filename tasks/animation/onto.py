"""A person in footage who is to have a driver's expression: what is asked for, and what is told of it afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fye_model.animation.compatibility import check_folder
from fye_model.animation.description import need_description
from fye_model.animation.onto import Head
from fye_model.animation.transfer import Transfer
from fye_model.config import Config, SamplingConfig
from fye_model.landmarks.drawing import ALIGNED
from tasks.animation.output import Encoding
from tasks.animation.request import DrivenRequest, check_driver, check_output
from tasks.engine.items import Quarantine
from tasks.media.moving import refuse
from tasks.media.shown import open_reader

SoundOf = Literal["footage", "driver", "none"]
FOOTAGE = "footage"  # what messages call it


class OntoSettings(Encoding):
    """How a face in footage is replaced.

    face: which person of the footage, chosen in the first frame that shows the face (see `choose_faces`); driver_face:
    which face of the driver. head: the person's own head motion, or the driver's from the reference on. transfer: what
    of the driver is taken over; the rest is the person's own expression. reference_frame: the footage's frame that the
    model starts from; None: the calmest. sound: whose. frames_fps: rate of folders of frames.
    """

    face: str = "largest"
    driver_face: str = "largest"
    head: Head = "footage"
    transfer: Transfer = Transfer()
    reference_frame: Annotated[int, Field(ge=0)] | None = None
    sound: SoundOf = "footage"
    frames_fps: Annotated[float, Field(gt=0, le=240)] | None = None


class OntoRequest(OntoSettings, DrivenRequest):
    """What is wanted. onto: the footage, a video or a folder of frames."""

    onto: Path


class OntoResult(Config):
    """What was written. replaced: frames with a made face; without_face: frames that do not show the person;
    without_driver: frames for which the driver had no face or had ended; both stay as they are. reference_frame: the
    footage's frame that the model started from. notes: what a user was told."""

    output: Path
    frames: int
    replaced: int
    without_face: int
    without_driver: int
    reference_frame: int
    fps: float
    width: int
    height: int
    notes: tuple[str, ...]
    sound: SoundOf
    seed: int
    sampling: SamplingConfig
    assumed: tuple[str, ...]


def check_onto(request: OntoRequest) -> None:
    """Look at what was asked for before anything slow: ValueError for what is missing, unreadable or cannot be done.
    Makes the output's folder."""
    check_folder(request.model)
    model = need_description(request.model)
    if model.landmark_variant not in ALIGNED:
        raise ValueError(
            f"{request.model} draws {model.landmark_variant} landmarks, which know no other face than the driver's: "
            "they cannot be laid onto a person; give a model of expression-aware landmarks"
        )
    try:
        open_reader(request.onto, request.frames_fps or 1.0).close()
    except Quarantine as error:
        raise refuse(request.onto, error, FOOTAGE) from error
    check_driver(request.driving, request.frames_fps)
    check_output(request.output, request, {"footage": request.onto, "driver": request.driving})
    if (request.transfer.rotation, request.transfer.position) != ("relative", "relative"):
        raise ValueError("--rotation and --position: of a portrait; with --onto, the footage says where the person is")
    if request.alpha:
        raise ValueError("--alpha goes without --onto: footage has no transparency to keep")
