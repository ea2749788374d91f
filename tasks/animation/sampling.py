"""The model that draws: its settings, loading it for a device, and what skipping steps costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydantic import ValidationError

from fye_model.animation.arguments import sampling_arguments
from fye_model.animation.compatibility import check_folder
from fye_model.animation.description import need_description
from fye_model.animation.folder import load_pipeline
from fye_model.animation.inputs import DrawnLandmarks
from fye_model.animation.schedule import progressive_windows
from fye_model.animation.step_cache import StepCache
from fye_model.config import SamplingConfig, StepCacheConfig
from fye_model.devices import Device
from tasks.workspace.recipes import explain_problems, merge_settings

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline
    from fye_model.animation.progressive import WindowStore

Log = Callable[[str], None]
_FAST_SHARE = 0.25  # of 30 steps 8: three times as fast, at errors that tests/benchmarks/skip_steps.py tells
_FAST_LEAST = 6  # computed steps: with fewer, errors grow quickly
_COMPILE_FROM_FRAMES = 2000  # compiling takes about a minute and saves a fortieth of a second a frame


def sampling_of(model: Path, changes: Mapping[str, object], fast: bool = False) -> SamplingConfig:
    """The sampling settings that a model was evaluated with, with changes; ValueError for an unknown setting.

    fast: compute about a quarter of the steps, unless `changes` say how many.
    """
    check_folder(model)
    settings = merge_settings(need_description(model).sampling.model_dump(mode="json"), dict(changes))
    try:
        sampling = SamplingConfig.model_validate(settings)
        return SamplingConfig.model_validate(_fast(sampling).model_dump()) if fast else sampling
    except ValidationError as error:
        raise ValueError(f"sampling settings: {'; '.join(explain_problems(error, SamplingConfig))}") from error


def _fast(sampling: SamplingConfig) -> SamplingConfig:
    computed = max(_FAST_LEAST, math.ceil(sampling.steps * _FAST_SHARE))
    if sampling.step_cache.skips or computed >= sampling.steps:
        return sampling
    return sampling.model_copy(update={"step_cache": StepCacheConfig(computed_steps=computed)})


def load_for_animation(model: Path, device: Device, log: Log = print, frames: int = 0) -> FollowYourEmojiPipeline:
    """A model's pipeline, in half precision and on the fast path where there is a GPU; compiled for many frames."""
    return load_pipeline(model, device.name, log, compile=frames >= _COMPILE_FROM_FRAMES)


def performed(
    pipeline: FollowYourEmojiPipeline,
    reference: Image.Image,
    landmarks: DrawnLandmarks,
    sampling: SamplingConfig,
    on_step: Callable[[], None],
    store: WindowStore,
) -> Iterator[np.ndarray]:
    """The animated squares (size, size, 3) uint8 in playing order; `on_step` is called after each step of a window."""

    def stepped(pipeline: object, step: int, timestep: int, tensors: dict[str, Any]) -> None:
        on_step()

    how = sampling_arguments(sampling)
    for chunk in pipeline.stream(reference, landmarks, **how, callback_on_step_end=stepped, store=store):
        yield from (np.asarray(frame) for frame in chunk)


def cache_error(
    pipeline: FollowYourEmojiPipeline,
    reference: Image.Image,
    landmarks: DrawnLandmarks,
    sampling: SamplingConfig,
    log: Log,
) -> float | None:
    """What skipping steps changes, measured on the keyframes: mean absolute difference of pictures in [0, 1].

    None, and said, where measuring would cost more than half of what skipping saves.
    """
    computed = StepCache(sampling.step_cache, sampling.steps).computed_steps
    windows = progressive_windows(len(landmarks), sampling.window)
    if len(windows) * (sampling.steps - computed) < 2 * (sampling.steps + computed):
        log(
            f"step cache: {computed} of {sampling.steps} steps computed; what that changes is not measured, which "
            f"would take as long as it saves in a video of {len(landmarks)} frames"
        )
        return None
    keyframes = list(windows[0].frames)
    drawn = landmarks.pictures(keyframes)
    exact = sampling.model_copy(update={"step_cache": StepCacheConfig()})
    pictures = [
        pipeline(reference, drawn, **sampling_arguments(how), output_type="np", return_dict=False)[0]
        for how in (exact, sampling)
    ]
    difference = np.abs(pictures[0] - pictures[1])
    log(
        f"step cache: {computed} of {sampling.steps} steps computed in full; against the exact path, {len(keyframes)} "
        f"keyframes differ by {difference.mean():.5f} of the range of brightness on average, {difference.max():.3f} "
        "at most"
    )
    return float(difference.mean())
