"""Skipping denoiser work between steps: features that change slowly are extrapolated from earlier steps.

Between two computed steps the cached features are continued by the polynomial through the last `order` + 1 computed
ones (order 0: plain reuse), with the step number as the variable. This is approximate: compare with the exact result
before relying on it.

Two kinds of features, chosen by `StepCacheConfig.depth`:
- `depth` >= 1: what the inner resolution levels hand to the `depth` outer ones, which are computed at every step;
- `depth` = 0: the clean-latent estimate itself. A skipped step then costs nothing, and the whole is a linear multistep
  solver of the sampling equation: with order 0 it is DDIM with longer strides, and higher orders correct the strides.
"""

from __future__ import annotations

from torch import Tensor

from fye_model.config import StepCacheConfig


class StepCache:
    """Which steps are computed, and the features of those that are not. One per window: `reset` starts a new one."""

    def __init__(self, config: StepCacheConfig, steps: int) -> None:
        self.config = config
        self.steps = steps
        self._history: list[tuple[int, list[Tensor]]] = []

    def reset(self) -> None:
        """Forget all features."""
        self._history.clear()

    def computes(self, step: int) -> bool:
        """Whether a step is computed: all of the first `warmup_steps`, every `interval`-th afterwards, and the last."""
        since = step - self.config.warmup_steps
        return since < 0 or since % self.config.interval == 0 or step == self.steps - 1 or step == 0

    @property
    def computed_steps(self) -> int:
        """How many of the steps are computed."""
        return sum(self.computes(step) for step in range(self.steps))

    def store(self, step: int, features: list[Tensor]) -> None:
        """Keep the features of a computed step; only as many steps as the order needs are kept."""
        self._history.append((step, features))
        del self._history[: -(self.config.order + 1)]

    def extrapolate(self, step: int) -> list[Tensor]:
        """Features of a step that is not computed, in the features' own dtype."""
        assert self._history, "extrapolate() before the first computed step"
        weights = extrapolation_weights([known for known, _ in self._history], step)
        return [
            sum_weighted(weights, tensors) for tensors in zip(*(features for _, features in self._history), strict=True)
        ]


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
