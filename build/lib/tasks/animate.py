"""A portrait performs a driver: one picture and one video (or stored landmarks) in, one video out.

Memory does not grow with the length: the driver is read frame by frame, landmarks are drawn window by window, and
finished frames go to the encoder in playing order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from PIL import Image
from pydantic import Field, ValidationError

from fye_model.animation.compatibility import check_folder
from fye_model.animation.description import ModelDescription, need_description
from fye_model.animation.driving import Motion, motion_points
from fye_model.animation.inputs import DrawnLandmarks
from fye_model.animation.portrait import cut_square, paste_square
from fye_model.animation.schedule import progressive_windows
from fye_model.config import Config, SamplingConfig
from fye_model.devices import Device, choose_device
from fye_model.landmarks.drawing import ALIGNED
from fye_model.landmarks.table import LandmarkSequence
from tasks.engine.items import Quarantine
from tasks.faces.detector import FaceLandmarker
from tasks.faces.driver import STILL_S, Driver, is_table, read_driver
from tasks.faces.follow import load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.subject import Portrait, read_portrait
from tasks.media.compose import even_sides, pictures_in_a_row
from tasks.media.moving import Moving, refuse
from tasks.media.opening import printable
from tasks.media.pictures import open_picture
from tasks.media.read import probe, write_video
from tasks.media.shown import open_reader
from tasks.workspace.recipes import explain_problems, merge_settings

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline
    from fye_model.config import StepCacheConfig

Log = Callable[[str], None]
_MOST_FACES = 8
_CRF = 16
_USUAL_FPS = 25.0  # of a folder of frames, where neither the user nor the model names a rate
_COMPILE_FROM_FRAMES = 2000  # compiling takes about a minute and saves a fortieth of a second a frame


class AnimateRequest(Config):
    """What is wanted.

    portrait: any picture; turned as its EXIF tag says, transparent parts on white, cropped around the face (`face`:
    `largest`, or a number from the left, from 0). driving: a video, whose sound is copied, a folder of frames
    (`frames_fps` a second; None: the model's rate), a still picture (held for `still_s`), or a landmark table. model: a
    model folder. output: the mp4 to write. sampling: what the model was evaluated with, when None; seed: in place of
    `sampling.seed`. paste_back: put the animated square back into the whole picture. side_by_side: portrait | driver |
    result. device: `auto` is a GPU where there is one; half precision there.
    """

    portrait: Path
    driving: Path
    model: Path
    output: Path
    face: str = "largest"
    paste_back: bool = False
    side_by_side: bool = False
    sampling: SamplingConfig | None = None
    seed: int | None = None
    device: str = "auto"
    frames_fps: Annotated[float, Field(gt=0, le=240)] | None = None
    still_s: Annotated[float, Field(gt=0, le=3600)] = STILL_S


class AnimateResult(Config):
    """What was written, and what has to be known about it.

    aligned: the motion was laid onto the portrait's face, which therefore was found; driver_interpolated, driver_held:
    frames of the driver without a face, in short gaps and in long ones, which hold the last face; driver_notes: what is
    to be known of the driver, in words; step_cache_l1: what
    skipping steps changed, None where none was skipped; assumed: values that the model's description lacks.
    """

    output: Path
    frames: int
    fps: float
    width: int
    height: int
    aligned: bool
    portrait_faces: int
    driver_interpolated: int
    driver_held: int
    driver_notes: tuple[str, ...]
    audio: bool
    seed: int
    sampling: SamplingConfig
    step_cache_l1: float | None
    assumed: tuple[str, ...]


@dataclass(frozen=True)
class _Scene:
    """All that the frames of a result are made from."""

    subject: Portrait
    driven_by: Driver
    motion: Motion
    landmarks: DrawnLandmarks
    reference: Image.Image  # the portrait's square at the model's size

    @property
    def driver(self) -> LandmarkSequence:
        return self.driven_by.landmarks


def animate(
    request: AnimateRequest,
    asset: LandmarkerAsset,
    log: Log = print,
    pipeline: FollowYourEmojiPipeline | None = None,
) -> AnimateResult:
    """Write `request.output`: the portrait with the driver's expressions and head motion, at its fps and length.

    pipeline: of `request.model` on its device, from a caller who animates often (`load_for_animation`); None: loaded.

    A portrait without a detectable face works, unaligned, and the result says so. Raises ValueError for a driver that
    is empty or shows no face, a file that cannot be read, a face number that does not exist, a model folder that does
    not say how it was trained, or landmarks of another model than the detector. The output is written whole or not at
    all.
    """
    check_request(request)
    model = need_description(request.model)
    device = choose_device(request.device)
    sampling = request.sampling or model.sampling
    if request.seed is not None:
        sampling = sampling.model_copy(update={"seed": request.seed})
    _say_what_is_not_known(model, asset, log)
    scene = _set_scene(request, model, asset, sampling, log)
    log(f"device: {device}")
    if pipeline is None:
        pipeline = load_for_animation(request.model, device, log, frames=len(scene.driver))
    cache = sampling.step_cache if sampling.step_cache.interval > 1 else None
    cache_error = None if cache is None else _cache_error(pipeline, scene, sampling, log)
    chunks = pipeline.stream(**_call(scene.reference, scene.landmarks, sampling, cache), output_type="pil")
    frames = _composed(_counted(chunks, len(scene.driver), log), scene, request)
    sound, first_s = scene.driven_by.sound, scene.driven_by.first_s
    pictures = (even_sides(frame) for frame in frames)
    written = write_video(
        request.output, pictures, scene.driver.fps, _CRF, audio=sound, audio_start_s=first_s if sound else 0.0
    )
    assert written == len(scene.driver), f"{written} frames written, {len(scene.driver)} in the driver"
    info = probe(request.output)
    return AnimateResult(
        output=request.output,
        frames=written,
        fps=scene.driver.fps,
        width=info.width,
        height=info.height,
        aligned=scene.motion.aligned,
        portrait_faces=scene.subject.faces,
        driver_interpolated=int(scene.driver.interpolated.sum()),
        driver_held=int(scene.motion.held.sum()),
        driver_notes=scene.driven_by.notes,
        audio=sound is not None,
        seed=sampling.seed,
        sampling=sampling,
        step_cache_l1=cache_error,
        assumed=model.assumed,
    )


def check_request(request: AnimateRequest) -> None:
    """Look at what was asked for before anything slow: ValueError for files that are missing, are no model folder
    or no picture or video, and for an output that could not be written. Makes the output's folder."""
    portrait, driving, output = request.portrait, request.driving, request.output
    check_folder(request.model)
    need_description(request.model)
    with open_picture(portrait):
        pass
    try:
        if not is_table(driving):
            open_reader(driving, request.frames_fps or 1.0).close()
        elif not driving.is_file():
            raise ValueError(f"{driving}: no such file; give a video, or a landmark table that a run stored")
    except Quarantine as error:
        raise refuse(driving, error) from error
    for name, source in (("portrait", portrait), ("driver", driving)):
        if output.exists() and output.samefile(source):
            raise ValueError(f"output {output} is the {name} itself, which it would replace; give another name")
    if output.suffix.lower() != ".mp4" or output.is_dir():
        what = "is a folder" if output.is_dir() else "does not end in .mp4"
        raise ValueError(f"output {output} {what}; give the name of the mp4 file to write")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ValueError(f"output {output}: its folder cannot be written: {error.strerror or error}") from error


def sampling_of(model: Path, changes: Mapping[str, object]) -> SamplingConfig:
    """The sampling settings that a model was evaluated with, with changes; ValueError for an unknown setting."""
    settings = merge_settings(need_description(model).sampling.model_dump(mode="json"), dict(changes))
    try:
        return SamplingConfig.model_validate(settings)
    except ValidationError as error:
        raise ValueError(f"sampling settings: {'; '.join(explain_problems(error, SamplingConfig))}") from error


def _say_what_is_not_known(model: ModelDescription, asset: LandmarkerAsset, log: Log) -> None:
    if model.warning is not None:
        log(f"WARNING: {model.warning}")
    if model.landmark_model not in (None, asset.model):
        log(f"note: the model was trained on landmarks of {model.landmark_model}, the portrait's are of {asset.model}")


def _set_scene(
    request: AnimateRequest, model: ModelDescription, asset: LandmarkerAsset, sampling: SamplingConfig, log: Log
) -> _Scene:
    """Find the faces of portrait and driver, and lay the motion of one onto the other."""
    with FaceLandmarker(asset.path, asset.model, max_faces=_MOST_FACES) as landmarker:
        subject = read_portrait(request.portrait, landmarker, model, request.face)
        fps = request.frames_fps or model.fps or _USUAL_FPS
        driven_by = read_driver(request.driving, landmarker, asset, model.max_gap_frames, fps, request.still_s)
    driver = driven_by.landmarks
    for note in driven_by.notes:
        log(f"{printable(Path(request.driving.name))}: {note}")
    name = request.portrait.name
    if subject.reference is None:
        log(f"{name}: no face found; the driver's landmarks are drawn as they are, without alignment")
    elif subject.faces > 1:
        log(f"{name}: {subject.faces} faces found, using {request.face}")
    if model.landmark_variant not in ALIGNED:
        log(f"the model draws {model.landmark_variant} landmarks, the driver's as they are: no alignment")
    motion = motion_points(driver, subject.reference, load_geometry(asset), model, sampling.smoothing)
    if motion.held.any():
        held = int(motion.held.sum())
        log(f"{request.driving.name}: {held} of {len(driver)} frames without a face hold a neighbour's")
    landmarks = DrawnLandmarks(motion.points, model.size, model.size, model.landmark_variant)
    return _Scene(subject, driven_by, motion, landmarks, cut_square(subject.picture, subject.square, model.size))


def load_for_animation(model: Path, device: Device, log: Log = print, frames: int = 0) -> FollowYourEmojiPipeline:
    """A model's pipeline, in half precision and on the fast path where there is a GPU; compiled for many frames."""
    import torch

    from fye_model.animation.pipeline import FollowYourEmojiPipeline

    precision = torch.float16 if device.is_cuda else torch.float32
    pipeline = FollowYourEmojiPipeline.from_pretrained(model, dtype=precision).to(device.torch)
    pipeline.set_progress_bar_config(disable=True)
    if device.is_cuda:
        log(str(pipeline.enable_fast_path(compile=frames >= _COMPILE_FROM_FRAMES)))
    return pipeline


def _call(
    reference: Image.Image,
    landmarks: DrawnLandmarks | np.ndarray,
    sampling: SamplingConfig,
    cache: StepCacheConfig | None,
) -> dict[str, Any]:
    """The pipeline's arguments, by name: they are of many types."""
    import torch

    return {
        "reference_image": reference,
        "landmarks": landmarks,
        "num_inference_steps": sampling.steps,
        "guidance_scale": sampling.guidance_scale,
        "generator": torch.Generator().manual_seed(sampling.seed),
        "strategy": sampling.strategy,
        "window": sampling.window,
        "overlap": sampling.overlap,
        "step_cache": cache,
    }


def _cache_error(pipeline: FollowYourEmojiPipeline, scene: _Scene, sampling: SamplingConfig, log: Log) -> float:
    """What skipping steps changes, measured on the keyframes: mean absolute difference of pictures in [0, 1]."""
    from fye_model.animation.step_cache import StepCache

    keyframes = list(progressive_windows(len(scene.landmarks), sampling.window)[0].frames)
    drawn = scene.landmarks.pictures(keyframes)
    pictures = [
        pipeline(**_call(scene.reference, drawn, sampling, cache), output_type="np", return_dict=False)[0]
        for cache in (None, sampling.step_cache)
    ]
    difference = np.abs(pictures[0] - pictures[1])
    computed = StepCache(sampling.step_cache, sampling.steps).computed_steps
    log(
        f"step cache: {computed} of {sampling.steps} steps computed in full; against the exact path, {len(keyframes)} "
        f"keyframes differ by {difference.mean():.5f} of the range of brightness on average, {difference.max():.3f} "
        "at most"
    )
    return float(difference.mean())


def _counted(chunks: Iterator[list[Image.Image]], total: int, log: Log) -> Iterator[np.ndarray]:
    """Frames (h, w, 3) uint8 one by one, with a line for each part that is done."""
    done = 0
    for chunk in chunks:
        yield from (np.asarray(frame) for frame in chunk)
        done += len(chunk)
        log(f"{done} of {total} frames")


def _composed(frames: Iterator[np.ndarray], scene: _Scene, request: AnimateRequest) -> Iterator[np.ndarray]:
    """The frames as they are shown: pasted back, and beside portrait and driver, as asked."""
    picture = np.asarray(scene.subject.picture)
    still = picture if request.paste_back else np.asarray(scene.reference)
    drivers: Iterator[np.ndarray] | None = None
    if request.side_by_side:
        drawn = (scene.landmarks.pictures([frame])[0] for frame in range(len(scene.landmarks)))
        drivers = drawn if scene.driven_by.moving is None else _shown(scene.driven_by.moving)
    for square in frames:
        frame = paste_square(picture, scene.subject.square, square[None])[0] if request.paste_back else square
        yield frame if drivers is None else pictures_in_a_row([still, next(drivers), frame], scene.landmarks.height)


def _shown(moving: Moving) -> Iterator[np.ndarray]:
    """The driver's pictures as they were looked at, (h, w, 3) uint8."""
    with moving.open() as video:
        yield from (rgb for _, rgb in video.pictures())
