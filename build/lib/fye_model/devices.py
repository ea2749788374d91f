"""Which device a run computes on, and why: chosen here, said once, obeyed everywhere."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Wanted = Literal["auto", "cpu", "cuda"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """`name` as PyTorch names it ("cpu", "cuda", "cuda:1"); `why` in words; `cards`: GPUs that a run may use."""

    name: str
    why: str
    cards: int = 0

    @property
    def is_cuda(self) -> bool:
        return self.name.startswith("cuda")

    @property
    def torch(self) -> torch.device:
        import torch

        return torch.device(self.name)

    def __str__(self) -> str:
        return f"{self.name} ({self.why})"


def choose_device(wanted: Wanted | str = "auto") -> Device:
    """The device that was asked for; with `auto`, a GPU where PyTorch finds one.

    Raises ValueError for `cuda` where PyTorch finds none, with what PyTorch was built for.
    """
    if wanted == "cpu":
        return Device("cpu", "as asked for")
    import torch

    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if cards:
        name = torch.cuda.get_device_name(0)
        found = f"{name}, {cards} of them" if cards > 1 else name
        return Device(
            "cuda" if wanted == "auto" else wanted, f"{found}, {'found' if wanted == 'auto' else 'asked for'}", cards
        )
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU only"
    if wanted != "auto":
        raise ValueError(
            f"device is {wanted}, but PyTorch {torch.__version__} finds no CUDA GPU here (it is built for {built}); "
            "give --device cpu or auto"
        )
    return Device("cpu", f"PyTorch finds no GPU; it is built for {built}")


class RunDevice:
    """The device of one run: chosen when its first step that computes asks for it, and then said, once.

    Not before: a run that finds everything done has no need of PyTorch, which is slow to import.
    """

    def __init__(self, wanted: Wanted | str = "auto") -> None:
        self.wanted = wanted
        self._chosen: Device | None = None

    def get(self) -> Device:
        """Raises what `choose_device` does."""
        if self._chosen is None:
            self._chosen = choose_device(self.wanted)
            logger.info("computing on %s", self._chosen)
        return self._chosen
