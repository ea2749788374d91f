"""A portrait performs a driver: one picture and one video (or stored landmarks) in, one video out.

Memory does not grow with the length: the driver is read frame by frame, landmarks are drawn window by window, and
finished frames go to the encoder in playing order; GIF and WebP alone are encoded as a whole. The parts are in
`tasks/animation/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fye_model.animation.description import ModelDescription, need_description
from fye_model.config import SamplingConfig
from fye_model.devices import choose_device
from tasks.animation.alpha import with_alpha
from tasks.animation.kept import KeptWindows, folder_of, forget, forget_others, how_computed, key_of
from tasks.animation.output import SILENT, MeasuredFrames, stored_side, write_result
from tasks.animation.planned import estimate_s, plan_lines, window_sizes
from tasks.animation.preview import liveliest, preview_paths, preview_sampling, save_strip, strip
from tasks.animation.progress import Progress, Watch
from tasks.animation.request import AnimateRequest, AnimateResult, AnimateSettings, check_request
from tasks.animation.sampling import cache_error, load_for_animation, performed, sampling_of
from tasks.animation.scene import Scene, set_scene
from tasks.animation.show import driver_pictures, shown
from tasks.faces.driver import read_driver
from tasks.faces.known_drivers import ReadDriver
from tasks.faces.landmarker import LandmarkerAsset

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

__all__ = [
    "AnimateRequest",
    "AnimateResult",
    "AnimateSettings",
    "animate",
    "check_request",
    "load_for_animation",
    "plan",
    "preview",
    "sampling_of",
]

Log = Callable[[str], None]


def animate(
    request: AnimateRequest,
    asset: LandmarkerAsset,
    log: Log = print,
    pipeline: FollowYourEmojiPipeline | None = None,
    watch: Watch | None = None,
    follow: ReadDriver = read_driver,
) -> AnimateResult:
    """Write `request.output`: the portrait with the driver's expressions and head motion, at its fps and length.

    pipeline: of `request.model` on its device, from a caller who animates often (`load_for_animation`); None: loaded.
    watch: told how far it is after every step, in place of lines; what it raises ends the run. follow: reads the
    driver, as `KnownDrivers.read` does for a caller who animates with one again and again.

    A portrait without a detectable face works, unaligned, and the result says so. Raises ValueError for a driver that
    is empty or shows no face, a file that cannot be read, a face that does not exist, a model folder that does not say
    how it was trained, or landmarks of another model than the detector. The output is written whole or not at all;
    windows that are finished when a run ends early are kept beside it, and the same request goes on from them.
    """
    check_request(request)
    model = need_description(request.model)
    sampling = request.sampling_with(model)
    scene, pipeline = _prepared(request, asset, model, sampling, log, pipeline, follow)
    first = scene.performances[0]
    skipping = None
    if sampling.step_cache.skips:
        skipping = cache_error(pipeline, first.reference, first.landmarks, sampling, log)
    frames = MeasuredFrames(_frames(pipeline, scene, request, sampling, log, watch))
    written = _write(request, iter(frames), scene)
    assert written == len(scene), f"{written} frames written, {len(scene)} in the driver"
    forget(request.output)
    return AnimateResult(
        output=request.output,
        frames=written,
        fps=scene.driver.landmarks.fps,
        width=stored_side(request.output, frames.width),
        height=stored_side(request.output, frames.height),
        aligned=first.motion.aligned,
        portrait_faces=scene.subject.faces,
        turned_deg=first.cut.turn.deg,
        driver_interpolated=int(scene.driver.landmarks.interpolated.sum()),
        driver_held=int(first.motion.held.sum()),
        notes=scene.notes,
        audio=scene.driver.sound is not None and request.output.suffix.lower() not in SILENT,
        seed=sampling.seed,
        sampling=sampling,
        step_cache_l1=skipping,
        assumed=model.assumed,
    )


def preview(
    request: AnimateRequest,
    asset: LandmarkerAsset,
    log: Log = print,
    pipeline: FollowYourEmojiPipeline | None = None,
    watch: Watch | None = None,
    follow: ReadDriver = read_driver,
) -> tuple[Path, Path]:
    """The liveliest two seconds of what `animate` would make, in few steps: a clip and a strip beside `request.output`.

    The strip shows driver, drawn landmarks on the portrait, and result. Returns both files. pipeline, watch, follow,
    and what it raises: as `animate`.
    """
    check_request(request)
    model = need_description(request.model)
    sampling = preview_sampling(request.sampling_with(model))
    scene, pipeline = _prepared(request, asset, model, sampling, log, pipeline, follow)
    scene = scene.stretch(*liveliest(scene))
    clip, picture = preview_paths(request.output)
    plain = request.model_copy(update={"output": clip, "codec": None, "quality": None, "alpha": False})
    frames = list(_frames(pipeline, scene, plain, sampling, log, watch))
    _write(plain, iter(frames), scene)
    forget(clip)
    save_strip(strip(scene, frames, list(driver_pictures(scene))), picture)
    return clip, picture


def plan(request: AnimateRequest, asset: LandmarkerAsset, log: Log = print) -> list[str]:
    """What `animate` would make and how long it would take, as lines; faces are found and a step is measured."""
    check_request(request)
    model = need_description(request.model)
    sampling = request.sampling_with(model)
    scene, pipeline = _prepared(request, asset, model, sampling, log)
    blank = [np.zeros((model.size, model.size, 3), np.uint8)] * len(scene.performances)
    shape = next(iter(shown(iter([blank]), scene, request.paste_back, request.side_by_side))).shape
    return plan_lines(scene, sampling, shape[1], shape[0], estimate_s(pipeline, scene, sampling))


def _prepared(
    request: AnimateRequest,
    asset: LandmarkerAsset,
    model: ModelDescription,
    sampling: SamplingConfig,
    log: Log,
    pipeline: FollowYourEmojiPipeline | None = None,
    follow: ReadDriver = read_driver,
) -> tuple[Scene, FollowYourEmojiPipeline]:
    """The scene, and the pipeline that draws it."""
    device = choose_device(request.device)
    for line in model.cautions(asset.model):
        log(line)
    scene = set_scene(request, model, asset, sampling, log, follow)
    log(f"device: {device}")
    return scene, pipeline or load_for_animation(request.model, device, log, frames=len(scene))


def _frames(
    pipeline: FollowYourEmojiPipeline,
    scene: Scene,
    request: AnimateRequest,
    sampling: SamplingConfig,
    log: Log,
    watch: Watch | None,
) -> Iterator[np.ndarray]:
    squares = _squares(pipeline, scene, request, sampling, log, watch)
    return shown(squares, scene, request.paste_back, request.side_by_side, cut_out=request.alpha)


def _write(request: AnimateRequest, frames: Iterator[np.ndarray], scene: Scene) -> int:
    if request.alpha:
        frames = with_alpha(frames, request.portrait, scene, request.paste_back)
    sound = (scene.driver.sound, scene.sound_from_s)
    return write_result(request.output, frames, scene.driver.landmarks.fps, request, *sound)


def _squares(
    pipeline: FollowYourEmojiPipeline,
    scene: Scene,
    request: AnimateRequest,
    sampling: SamplingConfig,
    log: Log,
    watch: Watch | None,
) -> Iterator[Sequence[np.ndarray]]:
    """For each frame the animated squares (size, size, 3) uint8 of all performances."""
    steps = sampling.steps * len(window_sizes(len(scene), sampling))
    progress = Progress(len(scene), len(scene.performances) * steps, log, watch=watch)

    how = how_computed(pipeline)
    keys = [key_of(performance, request.model, sampling, how) for performance in scene.performances]
    forget_others(request.output, keys)
    kept = (KeptWindows(folder_of(request.output), key, log, lambda: progress.skip(sampling.steps)) for key in keys)
    streams = [
        performed(pipeline, performance.reference, performance.landmarks, sampling, progress.step, store)
        for performance, store in zip(scene.performances, kept, strict=True)
    ]
    for faces in zip(*streams, strict=True):
        yield faces
        progress.frame()
