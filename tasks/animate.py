"""A portrait performs a driver: one picture and one video (or stored landmarks) in, one video out.

Memory does not grow with the length: the driver is read frame by frame, landmarks are drawn window by window, and
finished frames go to the encoder in playing order. The parts are in `tasks/animation/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fye_model.animation.description import ModelDescription, need_description
from fye_model.animation.schedule import progressive_windows
from fye_model.config import SamplingConfig
from fye_model.devices import choose_device
from tasks.animation.kept import KeptWindows, folder_of, forget, forget_others, how_computed, key_of
from tasks.animation.progress import Progress
from tasks.animation.request import AnimateRequest, AnimateResult, AnimateSettings, check_request
from tasks.animation.sampling import cache_error, call_of, load_for_animation, sampling_of
from tasks.animation.scene import Scene, set_scene
from tasks.animation.show import shown
from tasks.faces.landmarker import LandmarkerAsset
from tasks.media.compose import even_sides
from tasks.media.read import probe, write_video

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

__all__ = [
    "AnimateRequest",
    "AnimateResult",
    "AnimateSettings",
    "animate",
    "check_request",
    "load_for_animation",
    "sampling_of",
]

Log = Callable[[str], None]
_CRF = 16


def animate(
    request: AnimateRequest,
    asset: LandmarkerAsset,
    log: Log = print,
    pipeline: FollowYourEmojiPipeline | None = None,
) -> AnimateResult:
    """Write `request.output`: the portrait with the driver's expressions and head motion, at its fps and length.

    pipeline: of `request.model` on its device, from a caller who animates often (`load_for_animation`); None: loaded.

    A portrait without a detectable face works, unaligned, and the result says so. Raises ValueError for a driver that
    is empty or shows no face, a file that cannot be read, a face that does not exist, a model folder that does not say
    how it was trained, or landmarks of another model than the detector. The output is written whole or not at all;
    windows that are finished when a run ends early are kept beside it, and the same request goes on from them.
    """
    check_request(request)
    model = need_description(request.model)
    device = choose_device(request.device)
    sampling = request.sampling or model.sampling
    if request.seed is not None:
        sampling = sampling.model_copy(update={"seed": request.seed})
    _say_what_is_not_known(model, asset, log)
    scene = set_scene(request, model, asset, sampling, log)
    log(f"device: {device}")
    if pipeline is None:
        pipeline = load_for_animation(request.model, device, log, frames=len(scene))
    first = scene.performances[0]
    skipping = None
    if sampling.step_cache.interval > 1:
        skipping = cache_error(pipeline, first.reference, first.landmarks, sampling, log)
    frames = shown(_squares(pipeline, scene, request, sampling, log), scene, request.paste_back, request.side_by_side)
    sound, first_s = scene.driver.sound, scene.driver.first_s
    fps = scene.driver.landmarks.fps
    pictures = (even_sides(frame) for frame in frames)
    written = write_video(request.output, pictures, fps, _CRF, audio=sound, audio_start_s=first_s if sound else 0.0)
    assert written == len(scene), f"{written} frames written, {len(scene)} in the driver"
    forget(request.output)
    info = probe(request.output)
    return AnimateResult(
        output=request.output,
        frames=written,
        fps=fps,
        width=info.width,
        height=info.height,
        aligned=first.motion.aligned,
        portrait_faces=scene.subject.faces,
        turned_deg=first.cut.turn.deg,
        driver_interpolated=int(scene.driver.landmarks.interpolated.sum()),
        driver_held=int(first.motion.held.sum()),
        notes=scene.notes,
        audio=sound is not None,
        seed=sampling.seed,
        sampling=sampling,
        step_cache_l1=skipping,
        assumed=model.assumed,
    )


def _say_what_is_not_known(model: ModelDescription, asset: LandmarkerAsset, log: Log) -> None:
    if model.warning is not None:
        log(f"WARNING: {model.warning}")
    if model.landmark_model not in (None, asset.model):
        log(f"note: the model was trained on landmarks of {model.landmark_model}, the portrait's are of {asset.model}")


def _squares(
    pipeline: FollowYourEmojiPipeline, scene: Scene, request: AnimateRequest, sampling: SamplingConfig, log: Log
) -> Iterator[Sequence[np.ndarray]]:
    """For each frame the animated squares (size, size, 3) uint8 of all performances."""
    progress = Progress(len(scene), len(scene.performances) * _steps(len(scene), sampling), log)

    def on_step(pipeline: object, step: int, timestep: int, tensors: dict[str, Any]) -> None:
        progress.step()

    cache = sampling.step_cache if sampling.step_cache.interval > 1 else None
    how = how_computed(pipeline)
    keys = [key_of(performance, request.model, sampling, how) for performance in scene.performances]
    forget_others(request.output, keys)
    streams = [
        _one_by_one(
            pipeline.stream(
                **call_of(performance.reference, performance.landmarks, sampling, cache),
                output_type="pil",
                callback_on_step_end=on_step,
                store=KeptWindows(folder_of(request.output), key, log, lambda: progress.skip(sampling.steps)),
            )
        )
        for performance, key in zip(scene.performances, keys, strict=True)
    ]
    for faces in zip(*streams, strict=True):
        yield faces
        progress.frame()


def _steps(frames: int, sampling: SamplingConfig) -> int:
    """Steps of sampling that the pipeline takes for a video, counted over its windows."""
    if sampling.strategy == "overlap":
        return sampling.steps
    return sampling.steps * len(progressive_windows(frames, sampling.window))


def _one_by_one(chunks: Iterator[list[Any]]) -> Iterator[np.ndarray]:
    for chunk in chunks:
        yield from (np.asarray(frame) for frame in chunk)
