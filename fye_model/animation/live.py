"""A portrait that performs live: window after window, each beginning with the last frame of the one before.

What comes next is not known, so there are no keyframes. A window's first frame is finished already and given to the
network as a kept one, through the covered-latent input. What seams still cost is in `docs/animate.md`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fye_model.animation.arguments import sampling_arguments
from fye_model.animation.description import ModelDescription
from fye_model.animation.inputs import DrawnLandmarks
from fye_model.animation.precision import CarefulSampler
from fye_model.animation.request import Request
from fye_model.animation.transfer import Transfer, estimated, transfer_motion
from fye_model.config import SamplingConfig
from fye_model.landmarks.alignment import neutral_frame
from fye_model.landmarks.geometry import FaceGeometry
from fye_model.landmarks.table import LandmarkSequence

if TYPE_CHECKING:  # the networks are slow to import
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

_CONTEXT = 12  # frames before a window that its gaze may need: a blink hides where an eye looks
_NEAREST_CM = 12.0  # of the head's centre to the camera; nearer, the nose is at the lens


class LiveMotion:
    """Lays what a face does onto the portrait's, as it comes: `next` takes the frames since the last call.

    known: the first frames of the driver, at least one with a face, of which the one with the least expression counts
    as its neutral face, and as the pose in which the portrait's own is held. `neutral`: which of them that is.
    reference: the portrait's face, one frame of the model's size. Raises ValueError where no frame shows a face, and
    for a transfer that needs the whole driver.
    """

    def __init__(
        self,
        known: LandmarkSequence,
        reference: LandmarkSequence,
        geometry: FaceGeometry,
        model: ModelDescription,
        transfer: Transfer,
    ) -> None:
        check_live(transfer)
        self.neutral = neutral_frame(known, estimated(known, geometry)[0])
        self._home = known.select(slice(self.neutral, self.neutral + 1))
        self._reference, self._geometry, self._model = reference, geometry, model
        self._transfer = transfer.model_copy(update={"neutral": "0"})
        self._home_cm, self._own_cm = (estimated(one, geometry)[1][0, 2, 3] for one in (self._home, reference))
        self._before: deque[LandmarkSequence] = deque(maxlen=_CONTEXT)
        self._last = reference.pixels()[0]

    def next(self, driver: LandmarkSequence) -> tuple[np.ndarray, np.ndarray]:
        """Points (f, 478, 2) in pixels of the portrait's square for the next frames, and which of them hold the pose
        before them (f,), because they show no face, or one that is too near."""
        valid = driver.valid & ~self._too_near(driver)
        points = np.where(valid[:, None, None], driver.points, np.float32(np.nan))
        parts = [self._home, *self._before, _as_home(self._home, points, valid, driver.blendshapes)]
        joined = _joined(parts)
        model = self._model
        how = (self._reference, self._geometry, self._transfer, model.poses, None, model.mouths)
        found = transfer_motion(joined, *how).points[-len(driver) :]
        self._before.extend(parts[-1].select(slice(frame, frame + 1)) for frame in range(len(driver)))
        for frame, good in enumerate(valid):
            if good:
                self._last = found[frame]
            else:
                found[frame] = self._last
        return found, ~valid

    def _too_near(self, driver: LandmarkSequence) -> np.ndarray:
        """Frames (f,) whose motion would bring the portrait's head to the camera; False where there is no face."""
        places = estimated(driver, self._geometry)[1][:, 2, 3] / self._home_cm * self._own_cm
        wanted = self._own_cm + self._transfer.pose * (places - self._own_cm)
        near: np.ndarray = wanted > -_NEAREST_CM
        return near


def check_live(transfer: Transfer) -> None:
    """Raise ValueError for a transfer that can only be made of a driver that is known to its end."""
    usual = Transfer()
    for name, why in (
        ("neutral", "the neutral face is taken from the first second"),
        ("ease_s", "the end is not known"),
        ("position", "a square around all of the motion is not known"),
    ):
        if getattr(transfer, name) != getattr(usual, name):
            raise ValueError(f"{name.removesuffix('_s')} is {getattr(transfer, name)}, but of a live driver {why}")


def _as_home(
    home: LandmarkSequence, points: np.ndarray, valid: np.ndarray, shapes: np.ndarray | None
) -> LandmarkSequence:
    """Frames beside the neutral one, whose sizes and rate are theirs."""
    nothing = np.zeros(len(points), bool)
    return LandmarkSequence(
        points, None, shapes, valid, nothing, np.zeros(len(points)), home.fps, home.width, home.height, home.model
    )


def _joined(parts: list[LandmarkSequence]) -> LandmarkSequence:
    points = np.concatenate([part.points for part in parts])
    return _as_home(parts[0], points, np.concatenate([part.valid for part in parts]), None)


class LiveWindows:
    """Draws windows of one portrait, one after the other: `new` frames each, behind one that is kept.

    portrait: the picture that the model starts from; own_px: (478, 2) its face in it. The first window is drawn at
    once, of the portrait's own face: what it records and compiles is then there, and what comes starts from its end.
    Raises ValueError for sampling that the pipeline cannot do.
    """

    def __init__(
        self,
        pipeline: FollowYourEmojiPipeline,
        portrait: Image.Image,
        own_px: np.ndarray,
        model: ModelDescription,
        sampling: SamplingConfig,
    ) -> None:
        self.new = sampling.window - 1
        self._pipeline, self._model = pipeline, model
        own = np.repeat(own_px[None], sampling.window, axis=0)
        request = Request(
            source=self._drawn(own),
            height=model.size,
            width=model.size,
            steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            generator=sampling_arguments(sampling)["generator"],
            latents=None,
            strategy="progressive",  # of the two, that which keeps frames
            window=sampling.window,
            overlap=0,
            step_cache=sampling.step_cache,
            output_type="np",
            decode_chunk_size=sampling.window,
            shared_noise=sampling.shared_noise,
        )
        request.check(pipeline.denoiser, pipeline.vae_scale_factor, pipeline.scheduler.config.num_train_timesteps)
        self._sampler = CarefulSampler(pipeline, lambda: pipeline._sampler(request, portrait, [sampling.window]))
        self._noise = pipeline._noise(request)
        self._last_px = own_px
        self._kept: Tensor | None = None  # (4, h, w), of the last frame
        self._frame = 0  # its number
        self._kept = self._sampled(own)[:, -1]
        self._frame = sampling.window - 1

    @torch.no_grad()
    def draw(self, points_px: np.ndarray) -> np.ndarray:
        """The next frames (f, size, size, 3) uint8 for points (f, 478, 2), at most `new` of them.

        A window that is not full is filled with its last face: all windows have one size, which is recorded once.
        """
        if not 1 <= len(points_px) <= self.new:
            raise ValueError(f"{len(points_px)} frames for a window that takes 1 to {self.new} new ones")
        short = self.new - len(points_px)
        whole = np.concatenate([self._last_px[None], points_px, np.repeat(points_px[-1:], short, axis=0)])
        latents = self._sampled(whole)[:, 1 : 1 + len(points_px)]
        self._kept, self._last_px = latents[:, -1], points_px[-1]
        self._frame += len(points_px)
        pictures = self._pipeline.decode_latents(latents[None])
        frames: np.ndarray = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return frames

    @torch.no_grad()
    def _sampled(self, points_px: np.ndarray) -> Tensor:
        """Latents (4, f, h, w) of a whole window that begins with the kept frame, if there is one."""
        count = len(points_px)
        numbers = range(self._frame, self._frame + count)
        kept = here = None
        if self._kept is not None:
            kept = torch.zeros(1, len(self._kept), count, *self._kept.shape[1:], device=self._kept.device)
            kept[0, :, 0] = self._kept
            here = torch.arange(count) == 0
        landmarks = self._pipeline._landmarks(self._drawn(points_px), range(count))
        return self._sampler.run(lambda sampler: sampler.sample(self._noise(numbers), landmarks, kept, here))[0]

    def _drawn(self, points_px: np.ndarray) -> DrawnLandmarks:
        size = self._model.size
        return DrawnLandmarks(points_px, size, size, self._model.landmark_variant)
