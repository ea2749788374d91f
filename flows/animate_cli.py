"""The command line's part about animation: `fye animate` and `fye animate-many`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Group, Parameter

from flows.options import TOLD, Device, Told, runtime_and_recipe

if TYPE_CHECKING:  # slow to import
    from tasks.jobs.animate import AnimateRequest, AnimateSettings

FACES = Group("Which face", sort_key=1)
MOTION = Group("What is taken over of the driver", sort_key=2)
RESULT = Group("The result", sort_key=3)
DRIVER = Group("The driver's time", sort_key=4)
ONTO = Group("A face inside footage", sort_key=5)
_WHO = "`largest`, `left`, `centre`, `right`, a number from the left (0 first), or a picture of the person"


@Parameter(name="*", group=FACES)
@dataclass(frozen=True)
class Faces:
    """Options about faces; see `AnimateSettings`."""

    face: Annotated[str, Parameter(help=f"{_WHO}; `all` or `0,2` with --paste-back.")] = "largest"
    points: Annotated[
        str | None,
        Parameter(help="Where its face is: x,y;x,y;… of both eyes, nose, both corners of the mouth, from the left."),
    ] = None
    box: Annotated[str | None, Parameter(help="Or left,top,right,bottom of its face, in pixels.")] = None
    driver_face: Annotated[str, Parameter(help=f"Which of the driver's faces: {_WHO}.")] = "largest"


@Parameter(name="*", group=MOTION)
@dataclass(frozen=True)
class Motion:
    """Options about motion; see `Transfer`. None: as `transfer` says."""

    transfer: Annotated[
        str, Parameter(help="`all`, or some of expression,pose,gaze; the rest stays the portrait's own.")
    ] = "all"
    eyes: Annotated[float | None, Parameter(help="How strongly, 0 to 2; 1 is as the driver.")] = None
    brows: Annotated[float | None, Parameter(help="Likewise.")] = None
    mouth: Annotated[float | None, Parameter(help="Likewise, with the jaw.")] = None
    pose: Annotated[float | None, Parameter(help="Likewise, of the head.")] = None
    gaze: Annotated[float | None, Parameter(help="Likewise.")] = None
    rotation: Annotated[
        Literal["relative", "absolute"], Parameter(help="From the portrait's own pose on, or as the driver's head.")
    ] = "relative"
    position: Annotated[
        Literal["relative", "absolute"], Parameter(help="From the portrait's own place, or where the driver is.")
    ] = "relative"
    neutral: Annotated[
        str, Parameter(help="The driver's face without expression: auto, first, composite, mean, or a frame's number.")
    ] = "auto"
    ease: Annotated[
        float, Parameter(help="Seconds in which the motion sets in, and returns to the portrait's own face at the end.")
    ] = 0.0
    proportions: Annotated[bool, Parameter(help="Fit the motion to the portrait's eyes and mouth.")] = True
    limits: Annotated[bool, Parameter(help="Keep to the poses and mouths that the model was trained on.")] = True


@Parameter(name="*", group=RESULT)
@dataclass(frozen=True)
class Result:
    """Options about the result; see `AnimateSettings`."""

    paste_back: Annotated[bool, Parameter(help="Put the animated square back into the whole picture.")] = False
    side_by_side: Annotated[bool, Parameter(help="Show portrait, driver and result beside each other.")] = False
    codec: Annotated[Literal["h264", "h265", "vp9"] | None, Parameter(help="Of mp4 (h264, h265) and WebM (vp9).")] = (
        None
    )
    quality: Annotated[
        int | None, Parameter(help="Constant rate factor of video, lower is better; of WebP, higher is better.")
    ] = None
    alpha: Annotated[
        bool, Parameter(help="Keep a cut-out portrait's transparency, moving with the head: WebM, WebP, GIF, PNG.")
    ] = False
    preview: Annotated[
        bool, Parameter(help="Only two seconds in few steps, and a strip of driver, drawn landmarks and result.")
    ] = False
    plan: Annotated[bool, Parameter(help="Only say what would be made, and how long it takes.")] = False
    fast: Annotated[
        bool,
        Parameter(help="Compute about a quarter of the steps and continue what lies between: hardly another picture."),
    ] = False


@Parameter(name="*", group=DRIVER)
@dataclass(frozen=True)
class Driver:
    """Options about drivers that bring no time of their own; see `AnimateSettings`."""

    frames_fps: Annotated[float | None, Parameter(help="Rate of a folder of frames; the model's if not given.")] = None
    still_s: Annotated[float, Parameter(help="How long a still picture as driver is held, in seconds.")] = 2.0


@Parameter(name="*", group=ONTO)
@dataclass(frozen=True)
class Onto:
    """Options about footage in place of a portrait; see `OntoSettings`."""

    onto: Annotated[
        Path | None,
        Parameter(help="Footage in which a person (--face) takes on the driver's expression; give no portrait."),
    ] = None
    head: Annotated[
        Literal["footage", "driver"], Parameter(help="Whose head motion there: the person's own, or the driver's.")
    ] = "footage"
    sound: Annotated[Literal["footage", "driver", "none"], Parameter(help="Whose sound the footage gets.")] = "footage"
    reference_frame: Annotated[
        int | None, Parameter(help="Frame of the footage that the model starts from; the calmest if not given.")
    ] = None


_FACES, _MOTION, _RESULT, _DRIVER, _ONTO = Faces(), Motion(), Result(), Driver(), Onto()


def add_animate_command(app: App, run: Callable[..., int]) -> None:
    """Add `fye animate`; `run` runs a flow and says how it ended."""

    @app.command
    def animate(
        portrait: Annotated[Path, Parameter(help="An image; left out with --onto.")],
        driving: Annotated[
            Path | None,
            Parameter(help="A video, a folder of frames, a still picture, or a landmark table (.parquet)."),
        ] = None,
        *,
        model: Annotated[Path, Parameter(help="Model folder, such as WORK/model after a retrain.")],
        output: Annotated[
            Path, Parameter(help="NAME.mp4, .webm, .gif or .webp; without an ending, a folder of PNG pictures.")
        ],
        faces: Faces = _FACES,
        motion: Motion = _MOTION,
        result: Result = _RESULT,
        driver: Driver = _DRIVER,
        onto: Onto = _ONTO,
        seed: Annotated[int | None, Parameter(help="Of the noise.")] = None,
        set_: Annotated[
            list[str] | None,
            Parameter(
                name="--set", help="A sampling setting, as KEY=VALUE: steps=20, guidance_scale=3.5 …", negative=""
            ),
        ] = None,
        device: Device = "auto",
        told: Told = TOLD,
    ) -> int:
        """Animate one portrait with one driving video: PORTRAIT DRIVING, or DRIVING --onto FOOTAGE."""
        from tasks.jobs.animate import AnimateRequest, check_request, sampling_of
        from tasks.workspace.recipes import parse_overrides

        changes = parse_overrides(set_ or []) | ({} if seed is None else {"seed": seed})
        sampling = sampling_of(model, changes, result.fast)
        settings = _settings(faces, motion, result, driver)
        if onto.onto is not None:
            if result.preview or result.plan:
                raise ValueError(
                    "--preview and --plan are of a portrait; with --onto, try a short piece of the footage"
                )
            driven = {"driving": _only_driver(portrait, driving), "model": model, "output": output}
            return _onto({**vars(onto), **driven, "sampling": sampling, "device": device}, settings, told)
        if driving is None:
            raise ValueError(f"{portrait} is to perform, but there is no driver: give PORTRAIT DRIVING")
        if onto != _ONTO:
            raise ValueError("--head, --sound and --reference-frame are of footage: give --onto FOOTAGE with them")
        places = {"portrait": portrait, "driving": driving, "model": model, "output": output}
        how = {"sampling": sampling, "device": device}
        request = AnimateRequest.model_validate({**places, **dict(settings), **how})
        check_request(request)
        runtime, _ = runtime_and_recipe([], device=device)
        if result.preview or result.plan:
            return _look_first(request, runtime.assets, result.plan, told)
        from flows.animate import animate as flow  # Prefect takes seconds to import

        paths = {name: str(path) for name, path in places.items()}
        return run(flow, told=told, **paths, settings=settings, sampling=changes, fast=result.fast, runtime=runtime)


def add_animate_many_command(app: App) -> None:
    """Add `fye animate-many`."""

    @app.command
    def animate_many(
        portraits: Annotated[Path, Parameter(help="Folder of pictures, or one picture.")],
        driving: Annotated[Path, Parameter(help="Folder of videos and landmark tables, or one driver.")],
        *,
        model: Annotated[Path, Parameter(help="Model folder, such as WORK/model after a retrain.")],
        output: Annotated[Path, Parameter(help="Folder for the results, PORTRAIT--DRIVER each.")],
        ending: Annotated[
            str, Parameter(help="Of the results: .mp4, .webm, .gif, .webp, or '' for PNG pictures.")
        ] = ".mp4",
        faces: Faces = _FACES,
        motion: Motion = _MOTION,
        result: Result = _RESULT,
        driver: Driver = _DRIVER,
        set_: Annotated[
            list[str] | None, Parameter(name="--set", help="A sampling setting, as KEY=VALUE.", negative="")
        ] = None,
        workers: Annotated[
            int | None,
            Parameter(
                help="Pairs at once, each in a process, with a GPU where there are any; one a GPU if not given. 0: one "
                "after the other in this process."
            ),
        ] = None,
        device: Device = "auto",
        told: Told = TOLD,
    ) -> int:
        """Animate every portrait of a folder with every driver of another; what is done is kept."""
        from tasks.faces.landmarker import resolve_landmarker
        from tasks.jobs.animate import sampling_of
        from tasks.jobs.animate_many import animate_many as animate_all
        from tasks.workspace.recipes import parse_overrides

        if result.preview or result.plan:
            raise ValueError("--preview and --plan are of one pair: see `fye animate`")
        sampling = sampling_of(model, parse_overrides(set_ or []), result.fast)
        runtime, _ = runtime_and_recipe([], device=device)
        settings = _settings(faces, motion, result, driver)
        asset = resolve_landmarker(runtime.assets)
        places = (portraits, driving, model, output, asset)
        records = animate_all(*places, settings, sampling, ending, device, told.log, workers)
        failed = {name: record.error for name, record in records.items() if record.error is not None}
        for name, error in failed.items():
            told.warn(f"{name}: {error}")
        told.end(
            {name: record.model_dump(mode="json") for name, record in records.items()},
            f"\n{len(records) - len(failed)} of {len(records)} results are in {output}; see animations.json there",
        )
        return 1 if failed else 0


def _look_first(request: AnimateRequest, assets: Path | None, plan_only: bool, told: Told) -> int:
    """Preview or plan, in this process: starting Prefect takes longer."""
    from tasks.faces.landmarker import resolve_landmarker
    from tasks.jobs.animate import plan, preview

    if plan_only and told.json:
        raise ValueError("--json tells what was made; with --plan nothing is: leave one of them out")
    asset = resolve_landmarker(assets)
    if plan_only:
        print("\n".join(plan(request, asset, told.log)))
        return 0
    clip, strip = preview(request, asset, told.log)
    told.end({"outputs": {"video": str(clip), "strip": str(strip)}}, str(clip), str(strip))
    return 0


def _only_driver(first: Path, second: Path | None) -> Path:
    """The driver of `DRIVING --onto FOOTAGE`."""
    if second is not None:
        raise ValueError(
            f"--onto takes the face from the footage itself: give the driver alone, without the portrait {first}"
        )
    return first


def _onto(wanted: dict[str, object], settings: AnimateSettings, told: Told) -> int:
    """Replace a face in footage, in this process."""
    from tasks.animation.onto import OntoRequest, check_onto
    from tasks.faces.landmarker import resolve_landmarker
    from tasks.jobs.animate import AnimateSettings
    from tasks.jobs.animate_onto import animate_onto

    asked, usual = dict(settings), dict(AnimateSettings())
    taken = set(OntoRequest.model_fields) & asked.keys()
    if others := [name for name in asked if name not in taken and asked[name] != usual[name]]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        raise ValueError(f"{names}: of a portrait; it does not go with --onto")
    request = OntoRequest.model_validate({name: asked[name] for name in taken} | wanted)
    check_onto(request)
    runtime, _ = runtime_and_recipe([], device=request.device)
    made = animate_onto(request, resolve_landmarker(runtime.assets), told.log)
    told.end(
        made.model_dump(mode="json"),
        f"\n{made.output}: {made.replaced} of {made.frames} frames have the driver's expression, sound: {made.sound}",
    )
    return 0


def _settings(faces: Faces, motion: Motion, result: Result, driver: Driver) -> AnimateSettings:
    """The settings that the options mean; ValueError in one line for those that do not go."""
    from pydantic import ValidationError

    from tasks.jobs.animate import AnimateSettings
    from tasks.workspace.recipes import explain_problems

    how = transfer_of(motion)
    shown = {name: value for name, value in vars(result).items() if name not in ("preview", "plan", "fast")}
    try:
        return AnimateSettings.model_validate({**vars(faces), **shown, **vars(driver), "transfer": how})
    except ValidationError as error:
        raise ValueError("; ".join(explain_problems(error, AnimateSettings))) from error


def transfer_of(motion: Motion) -> dict[str, object]:
    """What the options about motion mean, for `Transfer`."""
    from fye_model.animation.transfer import only

    transfer = {} if motion.transfer == "all" else only([kind.strip() for kind in motion.transfer.split(",")])
    strengths = {name: getattr(motion, name) for name in ("eyes", "brows", "mouth", "pose", "gaze")}
    transfer |= {name: value for name, value in strengths.items() if value is not None}
    names = ("rotation", "position", "neutral", "proportions", "limits")
    return {**transfer, **{name: getattr(motion, name) for name in names}, "ease_s": motion.ease}
