"""What the trained networks share: diffusers' saving and configuration, and one switch for gradient checkpointing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from torch.utils.checkpoint import checkpoint


class Network(ModelMixin, ConfigMixin):  # type: ignore[misc]  # both name config_name, as every diffusers model
    """A diffusers model whose layers can be recomputed in the backward pass instead of kept."""

    _supports_gradient_checkpointing = True
    gradient_checkpointing = False

    def enable_gradient_checkpointing(self, gradient_checkpointing_func: Callable[..., Any] | None = None) -> None:
        """Recompute each layer in the backward pass. Its parts are not told, or they would recompute once more."""
        self.gradient_checkpointing = True

    def disable_gradient_checkpointing(self) -> None:
        """Keep activations again."""
        self.gradient_checkpointing = False

    def run_layer(self, layer: Callable[..., Any], *inputs: Any) -> Any:
        """Call `layer`, checkpointed when that is switched on."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False)
        return layer(*inputs)
