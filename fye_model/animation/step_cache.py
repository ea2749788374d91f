"""Skipping denoiser work between steps: features that change slowly are extrapolated from earlier steps.

Between two computed steps the cached features are continued by the polynomial through the last `order` + 1 computed
ones (order 0: plain reuse), with the step number as the variable. This is approximate: compare with the exact result
before relying on it.

Two kinds of features:
- what the inner resolution levels hand to the `depth` outer ones, which are computed at every step (`depth` >= 1);
- the clean-latent estimate itself (`depth` 0, and wherever `computed_steps` is given). A skipped step then costs
  nothing, and the whole is a linear multistep solver of the sampling equation: with order 0 it is DDIM with longer
  strides, and higher orders correct the strides.

Where whole steps are skipped, a computed one tells, too late, what those before it should have been: the polynomial
through its estimate and the earlier ones. `StepCacheConfig.corrector` goes them again with that, from the computed step
before on, which costs a few sums and no denoiser: predictor and corrector, as in UniPC (Zhao et al. 2023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fye_model.config import StepCacheConfig

if TYPE_CHECKING:  # slow to import, for who only counts steps
    from torch import Tensor

SPACING = 0.7, 0.5  # see `spaced`


class StepCache:
    """Which steps are computed, and the features of those that are not. One per window: `reset` starts a new one."""

    def __init__(self, config: StepCacheConfig, steps: int) -> None:
        self.config = config
        self.steps = steps
        self._computed = frozenset(_computed(config, steps))
        self._history: list[tuple[int, list[Tensor]]] = []

    def reset(self) -> None:
        """Forget all features."""
        self._history.clear()

    def computes(self, step: int) -> bool:
        """Whether a step is computed; the first and the last always are."""
        return step in self._computed

    @property
    def computed_steps(self) -> int:
        """How many of the steps are computed."""
        return len(self._computed)

    @property
    def corrects(self) -> bool:
        """Whether skipped steps are gone again once they can be interpolated."""
        return self.config.skips and self.config.corrector and self.config.computed_levels == 0

    def store(self, step: int, features: list[Tensor]) -> None:
        """Keep the features of a computed step; only as many steps as are looked back on are kept."""
        self._history.append((step, features))
        del self._history[: -(self.config.order + 1 + self.corrects)]  # the corrector's polynomial has one more

    def extrapolate(self, step: int) -> list[Tensor]:
        """Features of a step that is not computed, behind all that are, in the features' own dtype."""
        assert self._history, "extrapolate() before the first computed step"
        return self._continued(self._history[-(self.config.order + 1) :], step)

    def stretch(self) -> range:
        """The steps from the last but one computed step to the one before the last: what a corrector goes again."""
        if len(self._history) < 2:
            return range(0)
        return range(self._history[-2][0], self._history[-1][0])

    def interpolate(self, step: int) -> list[Tensor]:
        """Features of a step of `stretch`, by a polynomial of one order more than `extrapolate`'s."""
        return self._continued(self._history, step)

    @staticmethod
    def _continued(history: list[tuple[int, list[Tensor]]], step: int) -> list[Tensor]:
        weights = extrapolation_weights([known for known, _ in history], step)
        return [sum_weighted(weights, tensors) for tensors in zip(*(features for _, features in history), strict=True)]


def _computed(config: StepCacheConfig, steps: int) -> list[int]:
    """The computed steps, ascending.

    By number: `spaced`. By interval: the first `warmup_steps`, every `interval`-th afterwards, and the last.
    """
    last = steps - 1
    if config.computed_steps is not None:
        return spaced(min(config.computed_steps, steps), steps)
    regular = range(config.warmup_steps, steps, config.interval)
    return sorted({0, *range(min(config.warmup_steps, steps)), *regular, last})


def spaced(count: int, steps: int) -> list[int]:
    """`count` of so many steps, the first and the last among them, closer together at both ends.

    Nodes of a good interpolation are closer at both ends, and the clean estimate of a trained network changes most from
    step to step at the end. The two numbers of `SPACING` gave the smallest errors over all models that were tried
    (tests/benchmarks/skip_steps.py).
    """
    power, ends = SPACING
    chosen: list[int] = []
    for index in range(count):
        part = (index / max(count - 1, 1)) ** power
        part += ends * (3 * part**2 - 2 * part**3 - part)
        room = steps - count + index  # the last place that leaves one for each of those behind
        chosen.append(min(max(round((steps - 1) * part), chosen[-1] + 1 if chosen else 0), room))
    return chosen


def extrapolation_weights(known: list[int], wanted: int) -> list[float]:
    """Lagrange weights: the polynomial through the known steps, evaluated at the wanted one. They sum to 1."""
    weights = []
    for this in known:
        weight = 1.0
        for other in known:
            if other != this:
                weight *= (wanted - other) / (this - other)
        weights.append(weight)
    return weights


def sum_weighted(weights: list[float], tensors: tuple[Tensor, ...]) -> Tensor:
    """Weighted sum in float32, returned in the tensors' dtype."""
    if len(tensors) == 1:
        return tensors[0]
    total = tensors[0].float() * weights[0]
    for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
        total = total.add_(tensor, alpha=weight)
    return total.to(tensors[0].dtype)
