"""Long videos from coarse to fine: keyframes, then windows between finished frames, handed out in playing order.

Memory does not grow with the length: a finished frame is forgotten as soon as it has been handed out and no later
window keeps it, and the noise of a frame is drawn when the frame is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fye_model.animation.schedule import Window

_NO_FRAME = 2**63  # the number behind the noise of all frames: a video has fewer


class FrameNoise:
    """Initial noise by frame number: (1, 4, n, h, w) float32.

    One number is drawn from the caller's generator, and each frame has a generator of its own behind it. A frame's
    noise is therefore the same whatever the length of the video, the window and the device; nothing is stored. Noise
    that the caller brings along, (1, 4, f, h, w), is used as it is. shared: share of the variance, 0 to 1, of noise
    that all frames have in common; each frame's own is the rest (mixed noise, Ge et al. 2023, arXiv 2305.10474).
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        device: torch.device,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        shared: float = 0.0,
    ) -> None:
        self.shape = shape
        self.shared = shared
        self.device = device
        self.latents = latents
        if latents is None:
            where = generator.device if generator is not None else "cpu"
            self._base = int(torch.randint(2**62, (1,), generator=generator, device=where))

    def __call__(self, frames: Sequence[int]) -> Tensor:
        """Noise of these frames."""
        if self.latents is not None:
            return self.latents[:, :, list(frames)].to(self.device, torch.float32)
        # A counter-based generator takes the frame as part of its key; torch's own looks at 32 bits of a seed alone.
        drawn = torch.from_numpy(np.stack([self._drawn(frame) for frame in frames], axis=1))[None]
        if self.shared:
            common = torch.from_numpy(self._drawn(_NO_FRAME))[None, :, None]
            drawn = self.shared**0.5 * common + (1 - self.shared) ** 0.5 * drawn
        return drawn.to(self.device)

    def _drawn(self, number: int) -> np.ndarray:
        random = np.random.Generator(np.random.Philox(key=[self._base, number]))
        drawn: np.ndarray = random.standard_normal(self.shape, np.float32)
        return drawn


class WindowStore(Protocol):
    """Where finished windows are kept, so that an interrupted video goes on from them. Latents are on the CPU."""

    def get(self, window: Window) -> Tensor | None:
        """The latents (1, 4, f, h, w) float32 of a window's frames, None where they are not there."""
        ...

    def put(self, window: Window, latents: Tensor) -> None:
        """Keep the latents of a window that was denoised."""
        ...


def progressive_latents(
    windows: Sequence[Window],
    denoise_window: Callable[[Window, Tensor | None], Tensor],
) -> Iterator[Tensor]:
    """Walk the plan and yield finished latents (1, 4, n, h, w) in playing order, each frame once.

    `denoise_window(window, kept)` returns the latents (1, 4, f, h, w) of the window's frames; `kept` has the same shape
    and holds the given ones (zeros elsewhere), or is None when nothing is given.
    """
    last_use = {frame: index for index, window in enumerate(windows) for frame in window.frames}
    finished: dict[int, Tensor] = {}
    handed_out = 0
    for index, window in enumerate(windows):
        kept = None
        if any(window.given):
            some = finished[window.frames[0]]
            kept = torch.stack([finished.get(frame, torch.zeros_like(some)) for frame in window.frames], dim=1)[None]
        latents = denoise_window(window, kept)
        for position, (frame, given) in enumerate(zip(window.frames, window.given, strict=True)):
            if not given:
                finished[frame] = latents[0, :, position].clone()
        if window.ready > handed_out:
            yield torch.stack([finished[frame] for frame in range(handed_out, window.ready)], dim=1)[None]
            handed_out = window.ready
        for frame in [frame for frame in finished if frame < handed_out and last_use[frame] <= index]:
            del finished[frame]
    assert not finished, f"frames {sorted(finished)} were never handed out"
