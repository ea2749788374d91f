"""Half-precision working weights: the copy of the networks that a step runs on, and its single-precision masters.

Autocast turns every weight to bf16 in each step and every gradient back. Here the step runs on a bf16 copy of the
networks; `update` moves the masters by the copy's gradients, and writes the copy anew in the same pass. Masters are
the networks that are saved, validated and averaged, with plain layers and the names that they always have.
"""

from __future__ import annotations

import copy

import torch
import torch.distributed as dist
from torch import Tensor

from fye_model.networks import Networks
from fye_model.training.checkpoint import Trained
from fye_model.training.kernels.adam import AdamStep, FusedAdam, Moved, reference
from fye_model.training.kernels.staged_adam import StagedAdam
from fye_model.training.kernels.support import usable
from fye_model.training.layers import ALL, Savings, lay_out

_MOST_OF_A_CARD = 0.6
_BUCKET = 64 << 20  # bytes of gradients that processes exchange at a time


class WorkingCopy:
    """A bf16 copy on `device` of `trained.networks`, laid out for training, and the means to move both.

    The masters become channels-last, which changes no value. Masters in the computer's memory stay there, with their
    moments, in pinned pages, and come over for the step: the same kernel, to the same bits.
    """

    def __init__(self, trained: Trained, device: torch.device, savings: Savings = ALL) -> None:
        self.trained = trained
        masters = trained.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        half = copy.deepcopy(masters).to(dtype=torch.bfloat16)
        self.networks: Networks = half.to(device)
        named = dict(self.networks.named_parameters())
        self.parameters = [named[name] for name in trained.parameters]
        if self.networks.denoiser.gradient_checkpointing:
            self.networks.enable_gradient_checkpointing()
        lay_out(self.networks, savings)
        self._adam: FusedAdam | StagedAdam | None = None
        self._count = trained.align()
        if device.type == "cuda":
            _pin(trained)
        self._moved: Moved | None = None

    def gradients(self) -> list[Tensor]:
        """The gradient of each trained parameter, zero where no item of the batch went through it."""
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    @torch.no_grad()
    def update(self, grads: list[Tensor], lr: float, grad_clip: float, divisor: int = 1) -> Tensor:
        """Clip, step, average and write the working weights; returns the gradient's norm before the clip, 0-d.

        `grads` are summed over `divisor` micro-batches and processes. A norm that is not finite moves nothing.
        """
        norms = torch._foreach_norm(grads, dtype=torch.float32)
        norm = torch.linalg.vector_norm(torch.stack(norms)) / divisor
        factor = (grad_clip / (norm + 1e-6)).clamp(max=1) / divisor
        self._count += 1
        group, ema, share = self.trained.optimizer.param_groups[0], self.trained.ema, 0.0
        if ema is not None:
            ema.optimization_step += 1
            share = 1 - ema.get_decay(ema.optimization_step)
        beta1, beta2 = group["betas"]
        step = AdamStep(lr, beta1, beta2, group["eps"], group["weight_decay"], self._count, share)
        moved = self._tensors(grads)
        if usable(*self.parameters) and self.parameters[0].is_cuda:
            if self._adam is None:
                self._adam = (FusedAdam if moved.masters[0].is_cuda else StagedAdam)(moved)
            self._adam(factor, step)
        else:
            reference(moved, factor, step)
        torch._foreach_add_(self.trained.step_counts(), 1)
        found: Tensor = norm
        return found

    def _tensors(self, grads: list[Tensor]) -> Moved:
        """Built anew where the gradients have moved, which those of a replayed graph do not."""
        same = self._moved is not None and all(a is b for a, b in zip(self._moved.grads, grads, strict=True))
        if self._moved is None or not same:
            states = [self.trained.optimizer.state[master] for master in self.trained.parameters.values()]
            ema = self.trained.ema
            self._moved = Moved(
                masters=list(self.trained.parameters.values()),
                grads=grads,
                means=[state["exp_avg"] for state in states],
                squares=[state["exp_avg_sq"] for state in states],
                averages=[] if ema is None else ema.shadow_params,
                working=self.parameters,
            )
            self._moved.check()
            self._adam = None
        return self._moved


def _pin(trained: Trained) -> None:
    """Move what lies in the computer's memory to pages of it that a GPU can reach."""
    for parameter in trained.parameters.values():
        if parameter.is_cuda:
            continue
        parameter.data = _pinned(parameter.data)
        state = trained.optimizer.state[parameter]
        for key in ("exp_avg", "exp_avg_sq"):
            state[key] = _pinned(state[key])


def _pinned(tensor: Tensor) -> Tensor:
    there = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, pin_memory=True)
    return there.copy_(tensor)


def too_large(trained: int, frozen: int, memory: int) -> bool:
    """Whether masters and moments belong in the computer's memory: `memory` bytes of the card, parameters counted.

    With them a trained parameter takes 16 bytes (4 each of master and two moments, 2 of weight and of gradient), a
    frozen one 6. What a step keeps for its way back needs the rest.
    """
    return 16 * trained + 6 * frozen > _MOST_OF_A_CARD * memory


def sum_over_processes(grads: list[Tensor]) -> None:
    """Add up gradients over all processes, in place, a bucket at a time."""
    bucket: list[Tensor] = []
    size = 0
    for number, grad in enumerate(grads):
        bucket.append(grad)
        size += grad.numel() * grad.element_size()
        if size < _BUCKET and number + 1 < len(grads):
            continue
        # one dimension each, as they lie: a channels-last view would be copied twice
        flat = torch.cat([x.as_strided((x.numel(),), (1,)) for x in bucket])
        dist.all_reduce(flat)
        parts = flat.split([x.numel() for x in bucket])
        torch._foreach_copy_([x.as_strided((x.numel(),), (1,)) for x in bucket], list(parts))
        bucket, size = [], 0
