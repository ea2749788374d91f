"""A person in footage takes on a driver's expression: two videos in, the footage with another performance out.

Memory does not grow with the length but for the landmarks: footage and driver are read frame by frame, and finished
frames go to the encoder in playing order. The parts are in `tasks/animation/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fye_model.animation.description import need_description
from fye_model.config import SamplingConfig
from fye_model.devices import choose_device
from tasks.animation.footage import Footage, put_onto, set_footage
from tasks.animation.kept import KeptWindows, folder_of, forget, forget_others, how_computed, key_of
from tasks.animation.onto import OntoRequest, OntoResult, SoundOf, check_onto
from tasks.animation.output import SILENT, MeasuredFrames, stored_side, write_result
from tasks.animation.planned import window_sizes
from tasks.animation.progress import Progress
from tasks.animation.sampling import load_for_animation, performed
from tasks.faces.landmarker import LandmarkerAsset

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

Log = Callable[[str], None]


def animate_onto(
    request: OntoRequest,
    asset: LandmarkerAsset,
    log: Log = print,
    pipeline: FollowYourEmojiPipeline | None = None,
) -> OntoResult:
    """Write `request.output`: the footage, at its size, rate and length, in which the person has the driver's
    expression. Frames that do not show the person, or for which the driver has no face, stay as they are.

    pipeline: of `request.model` on its device; None: loaded. Raises ValueError as `check_onto` and `set_footage`. The
    output is written whole or not at all; windows that are finished when a run ends early are kept beside it, and the
    same request goes on from them.
    """
    check_onto(request)
    model = need_description(request.model)
    sampling = request.sampling_with(model)
    device = choose_device(request.device)
    for line in model.cautions(asset.model):
        log(line)
    scene = set_footage(request, model, asset, sampling, log)
    log(f"device: {device}")
    made = int(scene.made.sum())
    pipeline = pipeline or load_for_animation(request.model, device, log, frames=made)
    fps = scene.footage.landmarks.fps
    frames = MeasuredFrames(put_onto(scene, _squares(pipeline, scene, request, sampling, log), fps, request.head))
    sound, from_s, whose = _sound(scene, request)
    written = write_result(request.output, frames, fps, request, sound, from_s)
    assert written == len(scene), f"{written} frames written, {len(scene)} in the footage"
    forget(request.output)
    return OntoResult(
        output=request.output,
        frames=written,
        replaced=made,
        without_face=scene.without_face,
        without_driver=scene.without_driver,
        reference_frame=scene.reference_frame,
        fps=fps,
        width=stored_side(request.output, frames.width),
        height=stored_side(request.output, frames.height),
        notes=scene.notes,
        sound=whose,
        seed=sampling.seed,
        sampling=sampling,
        assumed=model.assumed,
    )


def _squares(
    pipeline: FollowYourEmojiPipeline, scene: Footage, request: OntoRequest, sampling: SamplingConfig, log: Log
) -> Iterator[np.ndarray]:
    """The made squares (size, size, 3) uint8 of all runs, in playing order."""
    parts = [scene.performance(span) for span in scene.spans]
    windows = sum(len(window_sizes(len(part.landmarks), sampling)) for part in parts)
    progress = Progress(int(scene.made.sum()), windows * sampling.steps, log)
    how = how_computed(pipeline)
    keys = [key_of(part, request.model, sampling, how) for part in parts]
    forget_others(request.output, keys)
    for part, key in zip(parts, keys, strict=True):
        store = KeptWindows(folder_of(request.output), key, log, lambda: progress.skip(sampling.steps))
        for frame in performed(pipeline, part.reference, part.landmarks, sampling, progress.step, store):
            yield frame
            progress.frame()


def _sound(scene: Footage, request: OntoRequest) -> tuple[Path | None, float, SoundOf]:
    """The file that has the sound, where it begins on that file's clock, and whose it is."""
    source = {"footage": scene.footage, "driver": scene.driver}.get(request.sound)
    if source is None or source.sound is None or request.output.suffix.lower() in SILENT:
        return None, 0.0, "none"
    return source.sound, source.first_s, request.sound
