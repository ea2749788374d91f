"""What an animation is asked for, whether it can be done, and what is told of it afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from fye_model.animation.compatibility import check_folder
from fye_model.animation.description import ModelDescription, need_description
from fye_model.animation.transfer import Transfer
from fye_model.config import Config, SamplingConfig
from fye_model.landmarks.few_points import NAMES
from tasks.animation.output import Encoding, check_encoding
from tasks.engine.items import Quarantine
from tasks.faces.driver import STILL_S, is_table
from tasks.media.moving import refuse
from tasks.media.opening import printable
from tasks.media.pictures import NoPictureError, is_still, open_picture
from tasks.media.shown import open_reader

Point = tuple[float, float]
Corners = tuple[float, float, float, float]


class WhichFace(Config):
    """Which face performs, and which one drives.

    face: which face of the portrait (see `choose_faces`); points: where its face is, five points in pixels of the
    picture (eyes, nose, corners of the mouth, each from left to right); box: or left, top, right, bottom of it.
    driver_face: which face of the driver.
    """

    face: str = "largest"
    points: tuple[Point, Point, Point, Point, Point] | None = None
    box: Corners | None = None
    driver_face: str = "largest"

    @field_validator("points", mode="before")
    @classmethod
    def _five_points(cls, value: object) -> object:
        """Also as a line: `x,y;x,y;x,y;x,y;x,y`."""
        if not isinstance(value, str):
            return value
        points = tuple(_numbers(point, 2, f"points {value!r}") for point in value.split(";") if point.strip())
        if len(points) != len(NAMES):
            raise ValueError(f"points {value!r} are {len(points)}; expected x,y;x,y;… of {', '.join(NAMES)}")
        return points

    @field_validator("box", mode="before")
    @classmethod
    def _corners(cls, value: object) -> object:
        """Also as a line: `left,top,right,bottom`."""
        return _numbers(value, 4, f"box {value!r}") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_way_to_say_where(self) -> Self:
        if self.points is not None and self.box is not None:
            raise ValueError("points and box both say where the face is; give one of them")
        return self


class AnimateSettings(WhichFace, Encoding):
    """How a portrait is animated.

    Which face: see `WhichFace`. transfer: what of the driver is taken over; None does as the public release, which is
    what methods are compared by. paste_back: put the animated square back into the whole picture. side_by_side:
    portrait | driver | result. frames_fps: rate of a folder of frames as driver; None: the model's rate. still_s: how
    long a still picture as driver is held. How results are encoded: see `Encoding`.
    """

    transfer: Transfer | None = Transfer()
    paste_back: bool = False
    side_by_side: bool = False
    frames_fps: Annotated[float, Field(gt=0, le=240)] | None = None
    still_s: Annotated[float, Field(gt=0, le=3600)] = STILL_S


class DrivenRequest(Config):
    """What is wanted of any face that a driver moves.

    driving: a video, a folder of frames, a still picture, or a landmark table. model: a model folder. output: what to
    write, in the form that its ending says (`tasks/animation/output.py`). sampling: what the model was evaluated with,
    when None; seed: in place of `sampling.seed`. device: `auto` is a GPU where there is one; half precision there.
    """

    driving: Path
    model: Path
    output: Path
    sampling: SamplingConfig | None = None
    seed: int | None = None
    device: str = "auto"

    def sampling_with(self, model: ModelDescription) -> SamplingConfig:
        """The sampling that was asked for, or else the model's, with the seed that was asked for."""
        sampling = self.sampling or model.sampling
        return sampling if self.seed is None else sampling.model_copy(update={"seed": self.seed})


class AnimateRequest(AnimateSettings, DrivenRequest):
    """What is wanted. portrait: any picture; turned as its EXIF tag says, transparent parts on white, cropped around
    the face. The sound of a driving video is copied."""

    portrait: Path


class AnimateResult(Config):
    """What was written, and what has to be known about it.

    aligned: the motion was laid onto the portrait's face, which therefore was found or given; portrait_faces: how many
    were found; turned_deg: how far the crop was turned to be upright; driver_interpolated, driver_held: frames of the
    driver without a face, in short gaps and in long ones, which hold the last face; notes: what a user was told of
    portrait, driver and motion; step_cache_l1: what skipping steps changed, None where none was skipped; assumed:
    values that the model's description lacks.
    """

    output: Path
    frames: int
    fps: float
    width: int
    height: int
    aligned: bool
    portrait_faces: int
    turned_deg: float
    driver_interpolated: int
    driver_held: int
    notes: tuple[str, ...]
    audio: bool
    seed: int
    sampling: SamplingConfig
    step_cache_l1: float | None
    assumed: tuple[str, ...]


def check_request(request: AnimateRequest) -> None:
    """Look at what was asked for before anything slow: ValueError for files that are missing, are no model folder
    or no picture or video, and for an output that could not be written. Makes the output's folder."""
    portrait, driving, output = request.portrait, request.driving, request.output
    check_folder(request.model)
    need_description(request.model)
    try:
        with open_picture(portrait):
            pass
    except NoPictureError as error:
        if not is_still(driving):
            raise
        raise ValueError(
            f"{printable(portrait)} is no picture, and {printable(driving)} is one: give the portrait first, then what "
            "drives it"
        ) from error
    check_driver(driving, request.frames_fps)
    check_output(output, request, {"portrait": portrait, "driver": driving})
    if request.alpha and request.side_by_side:
        raise ValueError("--alpha goes without --side-by-side: what stands beside it is not transparent")


def check_driver(driving: Path, frames_fps: float | None) -> None:
    """Raise ValueError for a driver that is missing or no moving picture."""
    try:
        if not is_table(driving):
            open_reader(driving, frames_fps or 1.0).close()
        elif not driving.is_file():
            raise ValueError(f"{driving}: no such file; give a video, or a landmark table that a run stored")
    except Quarantine as error:
        raise refuse(driving, error) from error


def check_output(output: Path, encoding: Encoding, sources: Mapping[str, Path]) -> None:
    """Raise ValueError for an output that could not be written or would replace one of `sources`, which are called by
    their names. Makes its folder."""
    for name, source in sources.items():
        if output.exists() and output.samefile(source):
            raise ValueError(f"output {output} is the {name} itself, which it would replace; give another name")
    check_encoding(output, encoding)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ValueError(f"output {output}: its folder cannot be written: {error.strerror or error}") from error


def _numbers(text: str, count: int, what: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise ValueError(f"{what}: expected {count} numbers with commas between them, in pixels, got {text.strip()!r}")
    return numbers
