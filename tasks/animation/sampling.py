"""The model that draws: its settings, loading it for a device, and what skipping steps costs."""

from __future__ import annotations

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
from fye_model.config import SamplingConfig, StepCacheConfig
from fye_model.devices import Device
from tasks.workspace.recipes import explain_problems, merge_settings

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline
    from fye_model.animation.progressive import WindowStore

Log = Callable[[str], None]
_COMPILE_FROM_FRAMES = 2000  # compiling takes about a minute and saves a fortieth of a second a frame


def sampling_of(model: Path, changes: Mapping[str, object]) -> SamplingConfig:
    """The sampling settings that a model was evaluated with, with changes; ValueError for an unknown setting."""
    check_folder(model)
    settings = merge_settings(need_description(model).sampling.model_dump(mode="json"), dict(changes))
    try:
        return SamplingConfig.model_validate(settings)
    except ValidationError as error:
        raise ValueError(f"sampling settings: {'; '.join(explain_problems(error, SamplingConfig))}") from error


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
) -> float:
    """What skipping steps changes, measured on the keyframes: mean absolute difference of pictures in [0, 1]."""
    from fye_model.animation.step_cache import StepCache

    keyframes = list(progressive_windows(len(landmarks), sampling.window)[0].frames)
    drawn = landmarks.pictures(keyframes)
    exact = sampling.model_copy(update={"step_cache": StepCacheConfig()})
    pictures = [
        pipeline(reference, drawn, **sampling_arguments(how), output_type="np", return_dict=False)[0]
        for how in (exact, sampling)
    ]
    difference = np.abs(pictures[0] - pictures[1])
    computed = StepCache(sampling.step_cache, sampling.steps).computed_steps
    log(
        f"step cache: {computed} of {sampling.steps} steps computed in full; against the exact path, {len(keyframes)} "
        f"keyframes differ by {difference.mean():.5f} of the range of brightness on average, {difference.max():.3f} "
        "at most"
    )
    return float(difference.mean())
