"""The optimizer step where masters and moments lie in the computer's memory: brought over and back in portions.

Three portions are under way at once: one comes, one is moved by the kernel, one goes back. The link between computer
and card then decides, both ways at the same time, and the card holds three portions instead of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fye_model.training.kernels.adam import AdamStep, FusedAdam, Moved

PORTION = 32 << 20  # weights that are brought over together, or one tensor where it is larger
_SLOTS = 3
_ALIGNMENT = 4  # floats: the kernel reads 16 bytes at a time


@dataclass(frozen=True)
class _Portion:
    """Some of the tensors: flat views of those in the computer's memory and of their places on the card."""

    there: list[Tensor]
    here: list[Tensor]
    adam: FusedAdam


class StagedAdam:
    """As `FusedAdam`, for masters and moments of `moved` in pinned memory; gradients and working weights on a GPU."""

    def __init__(self, moved: Moved) -> None:
        moved.check()
        device = moved.working[0].device
        portions = split([master.numel() for master in moved.masters], PORTION)
        room = max(sum(_padded(moved.masters[n]) for n in numbers) for numbers in portions)
        slots = [torch.empty(3, room, device=device) for _ in range(min(_SLOTS, len(portions)))]
        self.slots = len(slots)
        self.portions = [_portion(moved, numbers, slots[n % self.slots]) for n, numbers in enumerate(portions)]
        self.coming, self.going = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self._kept = moved

    def __call__(self, factor: Tensor, step: AdamStep) -> None:
        """See `kernels.adam.reference`; what follows on the current stream finds everything in its place."""
        now = torch.cuda.current_stream()
        self.coming.wait_stream(now)  # the last step's weights have gone back, and its slots are free
        gone: list[torch.cuda.Event] = []
        for number, portion in enumerate(self.portions):
            if number >= self.slots:
                self.coming.wait_event(gone[number - self.slots])
            with torch.cuda.stream(self.coming):
                for here, there in zip(portion.here, portion.there, strict=True):
                    here.copy_(there, non_blocking=True)
            now.wait_stream(self.coming)
            portion.adam(factor, step)
            self.going.wait_stream(now)
            with torch.cuda.stream(self.going):
                for here, there in zip(portion.here, portion.there, strict=True):
                    there.copy_(here, non_blocking=True)
                gone.append(self.going.record_event())
        now.wait_stream(self.going)


def split(sizes: Sequence[int], portion: int) -> list[list[int]]:
    """Numbers of tensors in portions of at most so many weights together, in order; a larger tensor is one alone."""
    portions: list[list[int]] = []
    held = 0
    for number, size in enumerate(sizes):
        if not portions or held + size > portion:
            portions.append([])
            held = 0
        portions[-1].append(number)
        held += size
    return portions


def _portion(moved: Moved, numbers: list[int], slot: Tensor) -> _Portion:
    there: list[Tensor] = []
    here: list[Tensor] = []
    staged: list[list[Tensor]] = []
    for kind, row in zip((moved.masters, moved.means, moved.squares), slot, strict=True):
        staged.append([])
        start = 0
        for number in numbers:
            tensor = kind[number]
            place = row[start : start + tensor.numel()]
            there.append(_flat(tensor))
            here.append(place)
            staged[-1].append(place.as_strided(tensor.size(), tensor.stride()))
            start += _padded(tensor)
    on_card = replace(
        moved,
        masters=staged[0],
        means=staged[1],
        squares=staged[2],
        grads=[moved.grads[number] for number in numbers],
        working=[moved.working[number] for number in numbers],
    )
    return _Portion(there, here, FusedAdam(on_card))


def _flat(tensor: Tensor) -> Tensor:
    """All values in the order in which they lie."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))


def _padded(tensor: Tensor) -> int:
    return -(-tensor.numel() // _ALIGNMENT) * _ALIGNMENT
