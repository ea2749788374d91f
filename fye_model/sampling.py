"""How frames are drawn: steps, guidance, windows, and which steps are computed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fye_model.settings import Config, Fraction, Positive


class StepCacheConfig(Config):
    """Steps whose network output is made of that of earlier ones (approximate; off by default, see `step_cache`)."""

    # how many steps are computed, spaced as is best; interval, warmup_steps and depth then do not count
    computed_steps: Annotated[int, Field(ge=2)] | None = None
    interval: Positive = 1  # compute the cached part every n-th step; 1: every step, exact
    order: Literal[0, 1, 2] = 1  # 0: reuse, 1-2: extrapolation by a line or a parabola
    warmup_steps: Annotated[int, Field(ge=0)] = 3
    depth: Annotated[int, Field(ge=0)] = 1  # outer resolution levels that are always computed; 0: none
    corrector: bool = True  # of whole steps: those skipped are gone again once the next computed one is known

    @property
    def skips(self) -> bool:
        """Whether any step may be skipped."""
        return self.interval > 1 or self.computed_steps is not None

    @property
    def computed_levels(self) -> int:
        """Outer resolution levels that are computed at skipped steps, too; 0: skipped as a whole."""
        return self.depth if self.computed_steps is None else 0


class SamplingConfig(Config):
    """Inference. [release, paper]"""

    steps: Positive = 30
    guidance_scale: Annotated[float, Field(ge=0)] = 3.5
    window: Annotated[int, Field(ge=2, le=32)] = 16
    strategy: Literal["progressive", "overlap"] = "progressive"  # [paper] / [release]
    overlap: Annotated[int, Field(ge=0)] = 4  # of the overlapping-window average
    smoothing: Literal["none", "one_euro", "savgol"] = "one_euro"  # of the driver's landmarks
    # [ours] share of the initial noise that all frames have in common, by variance: what noise decides then stays from
    # frame to frame, which takes flicker out of networks whose temporal layers were trained for a short time
    shared_noise: Fraction = 0.0
    step_cache: StepCacheConfig = StepCacheConfig()
    seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> SamplingConfig:
        if self.strategy == "progressive" and self.window < 3:
            raise ValueError(f"window must be at least 3 with strategy progressive, got {self.window}")
        if self.strategy == "overlap" and self.overlap >= self.window:
            raise ValueError(f"overlap ({self.overlap}) must be below window ({self.window})")
        if self.strategy == "overlap" and self.step_cache.skips:
            raise ValueError(
                "step_cache.interval must be 1, and computed_steps not given, with strategy overlap; skipping steps "
                "needs progressive"
            )
        return self
