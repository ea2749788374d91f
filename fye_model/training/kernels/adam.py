"""One pass over everything that an optimizer step touches: clipped Adam, the average, and the working weights.

PyTorch's fused AdamW wants gradients of the weights' precision; those of half-precision working weights would first be
copied. Here master weights, both moments, average, gradients and working weights of all parameters are read and written
once, found by a table of addresses. The clip factor, and whether the gradient was finite, stay on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of PyTorch
    triton = None

_CHUNK = 16_384
_BLOCK = 1_024


@dataclass(frozen=True)
class AdamStep:
    """The numbers of one step. `share`: how far the average moves towards the weights, 0 to leave it."""

    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    count: int  # of this step, from 1
    share: float


@dataclass(frozen=True)
class Moved:
    """All tensors of a step, in the same order: float32 but for the half-precision `grads` and `working`.

    `averages` is empty where there is no average. Tensors of one parameter have the same strides.
    """

    masters: Sequence[Tensor]
    grads: Sequence[Tensor]
    means: Sequence[Tensor]
    squares: Sequence[Tensor]
    averages: Sequence[Tensor]
    working: Sequence[Tensor]

    def check(self) -> None:
        """ValueError when tensors that are passed over together are not laid out alike."""
        kinds = [x for x in (self.grads, self.means, self.squares, self.averages, self.working) if x]
        for kind in kinds:
            for master, other in zip(self.masters, kind, strict=True):
                if master.shape != other.shape or _steps(master) != _steps(other):
                    raise ValueError(
                        f"a weight of shape {tuple(master.shape)} and strides {master.stride()} has a companion of "
                        f"{tuple(other.shape)} and {other.stride()}; both must be laid out alike"
                    )
                if other.data_ptr() % 16 or master.data_ptr() % 16:
                    raise ValueError("weights and moments must begin at multiples of 16 bytes: allocate each by itself")


def _steps(tensor: Tensor) -> list[int]:
    return [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]


@torch.no_grad()
def reference(moved: Moved, factor: Tensor, step: AdamStep) -> None:
    """The step in plain PyTorch. `factor`, 0-d: what gradients are multiplied with; 0 leaves everything as it is."""
    if not bool(factor > 0):
        return
    first, second = 1 - step.beta1**step.count, 1 - step.beta2**step.count
    for number, (master, grad) in enumerate(zip(moved.masters, moved.grads, strict=True)):
        mean, square = moved.means[number], moved.squares[number]
        grad = grad.float() * factor
        master.mul_(1 - step.lr * step.weight_decay)
        mean.lerp_(grad, 1 - step.beta1)
        square.mul_(step.beta2).addcmul_(grad, grad, value=1 - step.beta2)
        master.addcdiv_(mean, (square / second).sqrt_().add_(step.eps), value=-step.lr / first)
        if moved.averages:
            moved.averages[number].lerp_(master, step.share)
        moved.working[number].copy_(master)


class FusedAdam:
    """The step by one kernel; the tensors of `moved` stay where they are for its lifetime."""

    def __init__(self, moved: Moved) -> None:
        moved.check()
        self.has_average = bool(moved.averages)
        rows: list[tuple[int, ...]] = []
        for number, master in enumerate(moved.masters):
            half, grad = moved.working[number], moved.grads[number]
            single = [master, moved.means[number], moved.squares[number]]
            single.append(moved.averages[number] if self.has_average else master)
            for start in range(0, master.numel(), _CHUNK):
                places = [x.data_ptr() + start * 4 for x in single]
                places += [x.data_ptr() + start * x.element_size() for x in (grad, half)]
                rows.append((*places, min(_CHUNK, master.numel() - start)))
        self.table = torch.tensor(rows, dtype=torch.int64, device=moved.working[0].device)
        self._kept = moved  # the addresses are theirs

    def __call__(self, factor: Tensor, step: AdamStep) -> None:
        """See `reference`."""
        grads = self._kept.grads[0].dtype
        _adam[(len(self.table),)](
            self.table, factor, step.lr, step.beta1, step.beta2, 1 - step.beta1, 1 - step.beta2, step.eps,
            1 - step.lr * step.weight_decay, 1 / (1 - step.beta1**step.count), 1 / (1 - step.beta2**step.count),
            step.share, self.has_average, grads == torch.float32, _CHUNK, _BLOCK,
        )  # fmt: skip


if triton is not None:

    @triton.jit(do_not_specialize=["lr", "decay", "first", "second", "share"])
    def _adam(
        table, factor, lr, beta1, beta2, rest1, rest2, eps, decay, first, second, share, AVERAGE: tl.constexpr,
        SINGLE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        row = table + tl.program_id(0).to(tl.int64) * 7
        masters = tl.multiple_of(tl.load(row).to(tl.pointer_type(tl.float32)), 16)
        means = tl.multiple_of(tl.load(row + 1).to(tl.pointer_type(tl.float32)), 16)
        squares = tl.multiple_of(tl.load(row + 2).to(tl.pointer_type(tl.float32)), 16)
        averages = tl.multiple_of(tl.load(row + 3).to(tl.pointer_type(tl.float32)), 16)
        if SINGLE:
            grads = tl.multiple_of(tl.load(row + 4).to(tl.pointer_type(tl.float32)), 16)
        else:
            grads = tl.multiple_of(tl.load(row + 4).to(tl.pointer_type(tl.bfloat16)), 16)
        working = tl.multiple_of(tl.load(row + 5).to(tl.pointer_type(tl.bfloat16)), 16)
        count = tl.load(row + 6)
        scale = tl.load(factor)
        if scale > 0:
            for start in range(0, CHUNK, BLOCK):
                place = start + tl.arange(0, BLOCK)
                mask = place < count
                grad = tl.load(grads + place, mask=mask, other=0.0).to(tl.float32) * scale
                mean = tl.load(means + place, mask=mask, other=0.0) * beta1 + grad * rest1
                square = tl.load(squares + place, mask=mask, other=0.0) * beta2 + grad * grad * rest2
                master = tl.load(masters + place, mask=mask, other=0.0) * decay
                master -= lr * first * mean / (tl.sqrt(square * second) + eps)
                tl.store(means + place, mean, mask=mask)
                tl.store(squares + place, square, mask=mask)
                tl.store(masters + place, master, mask=mask)
                tl.store(working + place, master.to(tl.bfloat16), mask=mask)
                if AVERAGE:
                    average = tl.load(averages + place, mask=mask, other=0.0)
                    tl.store(averages + place, average + share * (master - average), mask=mask)
