"""What an animation would make and how long it would take, measured on a few steps of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fye_model.animation.arguments import sampling_arguments
from fye_model.animation.schedule import progressive_windows
from fye_model.animation.step_cache import StepCache
from fye_model.config import SamplingConfig, StepCacheConfig
from tasks.animation.progress import seconds
from tasks.animation.scene import Scene

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

_TRIAL_STEPS = 2  # the first one warms up


def window_sizes(frames: int, sampling: SamplingConfig) -> list[int]:
    """Frames of every window that goes through the denoiser."""
    if sampling.strategy == "overlap":
        return [frames]
    return [len(window.frames) for window in progressive_windows(frames, sampling.window)]


def estimate_s(pipeline: FollowYourEmojiPipeline, scene: Scene, sampling: SamplingConfig) -> float:
    """Seconds that all steps and the decoding will take, from one measured step of the first window."""
    first = scene.performances[0]
    sizes = window_sizes(len(scene), sampling)
    drawn = first.landmarks.pictures(range(min(sizes[0], sampling.window)))
    times: list[float] = []

    def on_step(*_: object) -> None:
        times.append(time.perf_counter())

    few = sampling.model_copy(update={"steps": _TRIAL_STEPS, "step_cache": StepCacheConfig()})
    how = sampling_arguments(few)
    pipeline(first.reference, drawn, **how, output_type="np", callback_on_step_end=on_step)
    a_frame = (times[-1] - times[-2]) / len(drawn)
    decoding = (time.perf_counter() - times[-1]) / len(drawn)
    once = sum(sizes) * StepCache(sampling.step_cache, sampling.steps).computed_steps * a_frame + len(scene) * decoding
    return once * len(scene.performances)


def plan_lines(scene: Scene, sampling: SamplingConfig, width: int, height: int, took_s: float) -> list[str]:
    """What a user is told; width, height: of the result in pixels."""
    fps = scene.driver.landmarks.fps
    sizes = window_sizes(len(scene), sampling)
    sound = "with the driver's sound" if scene.driver.sound is not None else "silent"
    computed = StepCache(sampling.step_cache, sampling.steps).computed_steps
    skipped = "" if computed == sampling.steps else f", {computed} of them computed,"
    faces = f", {len(scene.performances)} faces" if len(scene.performances) > 1 else ""
    return [
        f"{len(scene)} frames of {width}x{height} at {fps:g} a second ({seconds(len(scene) / fps)}), {sound}{faces}",
        f"{sampling.steps} steps{skipped} of {len(sizes)} windows, guidance {sampling.guidance_scale:g}: "
        f"about {seconds(took_s)} on this machine, after loading",
    ]
