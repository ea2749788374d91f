"""What training says of a checkpoint, as selection reads it."""

from __future__ import annotations

import json
import math
from pathlib import Path


def validation_loss(checkpoint: Path) -> float:
    """The loss that training measured on held-out batches for this checkpoint; ValueError where there is none."""
    path = checkpoint / "validation.json"
    try:
        loss = float(json.loads(path.read_text())["loss"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path}: expected {{"loss": number}} of the training\'s validation ({error!r}); '
            "set train.*.validate_every so that every checkpoint is validated"
        ) from error
    if not math.isfinite(loss):
        raise ValueError(f"{path}: the validation loss is {loss}; training diverged")
    return loss
