"""Validation: the training loss on held-out frames at noise, timesteps and covering that never change."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import default_collate

from fye_model.training.checkpoint import Trained, ValidationResult
from fye_model.training.data import TrainingSamples
from fye_model.training.distributed import World
from fye_model.training.objective import Objective


@torch.no_grad()
def validate(
    objective: Objective, samples: TrainingSamples, trained: Trained, world: World, items: int, micro: int, step: int
) -> ValidationResult:
    """Mean loss terms of the first `items` held-out samples, with the averaged weights where there is an average.

    Samples are shared among the processes; each is looked at once. `micro` of them at a time.
    """
    was_training = objective.training
    objective.eval()
    trained.swap_in_average()
    sums: dict[str, Tensor] = {}
    mine = range(world.rank, items, world.size)
    for first in range(0, len(mine), micro):
        numbers = mine[first : first + micro]
        batch = default_collate([samples[0, number] for number in numbers])
        batch = {name: value.to(world.device) for name, value in batch.items()}
        for name, value in objective(batch).detached().items():
            sums[name] = sums.get(name, 0.0) + value.double() * len(numbers)
    trained.swap_back()
    objective.train(was_training)
    names = ["loss", "loss_diffusion", "loss_expression", "loss_face"]
    totals = world.sum([float(sums.get(name, 0.0)) for name in names])
    means = {name: total / items for name, total in zip(names, totals, strict=True)}
    return ValidationResult(step=step, **means, items=items, weights=trained.weights)
