"""The fast path of a pipeline: its denoiser and autoencoder rearranged, their work recorded, and the way back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fye_model.fast.make_fast import Rearranged, make_fast
from fye_model.fast.replay import Replay
from fye_model.fast.report import FastReport, Part, kernel_parts

log = logging.getLogger(__name__)


class FastPath:
    """Rearranges `denoiser` and `vae` when it is made, until `undo`; `report` says what is in use.

    `encode` is the encoding of a portrait, with the networks that it uses. compile: hand the denoiser's blocks to
    `torch.compile`. Raises `ValueError`, with nothing changed, for offloaded networks and for those that `make_fast`
    does not take.
    """

    def __init__(
        self,
        denoiser: Any,
        vae: nn.Module,
        encode: Callable[..., Any],
        encoders: tuple[nn.Module, ...],
        compile: bool = False,
    ) -> None:
        if any(hasattr(module, "_hf_hook") for part in (denoiser, vae) for module in part.modules()):
            raise ValueError(
                "the fast path needs its networks on one device, but this pipeline is offloaded; load it again and "
                "move it with .to(device), or leave the fast path off"
            )
        self.denoiser = denoiser
        self.compiled = compile
        self._networks: list[Rearranged] = []
        try:
            for network in (denoiser, vae):
                self._networks.append(make_fast(network))
        except ValueError:
            self.undo()
            raise
        self._replay = Replay(lambda *inputs: denoiser(*inputs[:-1], plain=inputs[-1]), denoiser)
        self.encode = Replay(encode, *encoders)
        if compile:
            self._networks[0].compile()
        self.report = self._report(next(denoiser.parameters()).device)
        log.info("%s", self.report)

    def undo(self) -> None:
        """Put the plain blocks back and free what was recorded."""
        for network in reversed(self._networks):
            network.undo()
        self._networks = []

    def forget(self) -> None:
        """Free the recordings, with the memory that they work in."""
        self._replay.reset()
        self.encode.reset()

    def denoise_for(self, sizes: list[int]) -> Callable[..., Any]:
        """The denoiser: recorded, and compiled, for windows of the most frequent of these sizes alone."""
        usual = max(sizes, key=sizes.count)

        def denoise(noisy: Tensor, *rest: Any, plain: int, **deep: Any) -> Any:
            rare = noisy.shape[2] != usual
            with torch.compiler.set_stance("eager_on_recompile" if self.compiled and rare else "default"):
                if rare or deep:
                    return self.denoiser(noisy, *rest, plain=plain, **deep)
                return self._replay(noisy, *rest, plain)

        return denoise

    def _report(self, device: torch.device) -> FastReport:
        blocks = [block for network in self._networks for block in network.blocks]
        recorded = None if device.type == "cuda" else f"on {device.type}, needs a CUDA GPU"
        return FastReport(
            (
                Part(f"{len(blocks)} blocks rearranged"),
                *kernel_parts(blocks),
                Part("recorded calls", recorded),
                Part("compiled blocks", None if self.compiled else "not asked for"),
            )
        )
