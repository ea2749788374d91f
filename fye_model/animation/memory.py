"""Fitting an animation into a card's memory: what leaves the card meanwhile, and what is done in smaller parts.

The results are the same within the rounding of the precision; what is saved costs time. How much is saved is chosen
when a model is loaded, from what the card has free, and once more wherever that was not enough.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from fye_model.animation.description import ModelDescription

if TYPE_CHECKING:
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

log = logging.getLogger(__name__)
GIB = 2**30
T = TypeVar("T")

# Measured with the paper's networks (tests/benchmarks/memory.py): bytes beside the weights, in tensors of the size of
# the outermost level's features; what the fast path works out of the denoiser's weights, as a share of them; and what
# is lost between blocks.
_DRAWING, _DECODING, _DERIVED = 44.0, 6.0, 0.46
_LOST = 0.4 * GIB


class Saving(IntEnum):
    """How far memory is saved; each includes those before it."""

    NOTHING = 0  # all networks stay on the card, work is as parallel as it can be
    PORTRAIT = 1  # what only encodes the portrait leaves the card afterwards; frames are decoded one at a time
    HALVES = 2  # the halves of guidance are drawn one after the other

    @property
    def words(self) -> str:
        """What is done, for a line that a user reads."""
        parts = ("the portrait's networks wait beside the card, frames are decoded one at a time", "guidance in halves")
        return "; ".join(parts[: self.value]) or "everything stays on the card"


def place(pipeline: FollowYourEmojiPipeline, device: torch.device) -> None:
    """Move a pipeline's networks to a device, but for those that its `saving` leaves outside, and those that diffusers
    offloads: they come and go by themselves."""
    waiting = _leaving(pipeline) if pipeline.saving >= Saving.PORTRAIT else []
    for part in pipeline.components.values():
        if isinstance(part, nn.Module) and not _offloaded(part):
            part.to("cpu" if any(part is other for other in waiting) else device)


@contextmanager
def on_card(pipeline: FollowYourEmojiPipeline, part: nn.Module) -> Iterator[None]:
    """One of the networks that encode a portrait, on the card meanwhile."""
    if pipeline.saving < Saving.PORTRAIT or _offloaded(part):
        yield
        return
    pipeline.forget_recordings()
    _give_back(pipeline)
    part.to(pipeline._execution_device)
    try:
        yield
    finally:
        part.to("cpu")
        _give_back(pipeline)


def choose_saving(pipeline: FollowYourEmojiPipeline, free: int) -> tuple[Saving, dict[Saving, int]]:
    """The least saving with which a described model's windows fit into `free` bytes; the last one where none does.

    Also what each is estimated to take, in bytes.
    """
    assert pipeline.description is not None, "a model folder has a description"
    needs = {saving: needed(pipeline, pipeline.description, saving) for saving in Saving}
    return next((saving for saving in Saving if needs[saving] <= free), max(Saving)), needs


def needed(pipeline: FollowYourEmojiPipeline, model: ModelDescription, saving: Saving) -> int:
    """Estimated bytes of graphics memory for drawing a window and decoding it on the fast path, beside CUDA's own."""
    away = 0 if saving < Saving.PORTRAIT else sum(_size(part) for part in _leaving(pipeline))
    weights = sum(_size(part) for part in pipeline.components.values() if isinstance(part, nn.Module)) - away
    weights += int(_DERIVED * _size(pipeline.denoiser))
    sampling, cell = model.sampling, pipeline.vae_scale_factor
    width = pipeline.denoiser.dtype.itemsize
    copies = 2 if sampling.guidance_scale > 1 and saving < Saving.HALVES else 1
    pixels = copies * sampling.window * (model.size // cell) ** 2
    drawing = _DRAWING * pixels * pipeline.denoiser.config["block_out_channels"][0] * width
    at_once = 1 if saving >= Saving.PORTRAIT else min(8, sampling.window)
    decoding = _DECODING * at_once * model.size**2 * pipeline.vae.config["block_out_channels"][0] * width
    return int(weights + max(drawing, decoding) + _LOST)


def fitting(pipeline: FollowYourEmojiPipeline, work: Callable[[], T]) -> T:
    """What `work` returns; done again with more saved where the card's memory did not suffice.

    Raises ValueError where nothing is left to save.
    """
    while True:
        try:
            return work()
        except torch.OutOfMemoryError as error:
            short = str(error).split(". ")[0]
        # behind the except clause: the error's frames hold what was drawn so far
        if pipeline.saving == max(Saving):
            raise ValueError(
                f"the card's memory does not suffice, with all saved that can be ({pipeline.saving.words}): {short}. "
                "Draw fewer frames at once (--set window=8), free the card of other programs, or give --device cpu"
            )
        save_more(pipeline)
        log.warning("the card's memory did not suffice; from here on %s", pipeline.saving.words)


def save_more(pipeline: FollowYourEmojiPipeline) -> None:
    """Save one step more, and give back what was kept for what is no longer done."""
    pipeline.saving = Saving(pipeline.saving + 1)
    pipeline.forget_recordings()
    place(pipeline, pipeline._execution_device)
    gc.collect()
    _give_back(pipeline)


def free_bytes(device: torch.device) -> int:
    """What a card has free, with what this process keeps for later and does not use."""
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def _offloaded(part: nn.Module) -> bool:
    return hasattr(part, "_hf_hook")


def _give_back(pipeline: FollowYourEmojiPipeline) -> None:
    if pipeline._execution_device.type == "cuda":
        torch.cuda.empty_cache()


def _leaving(pipeline: FollowYourEmojiPipeline) -> list[nn.Module]:
    return [pipeline.image_encoder, pipeline.appearance_net]


def _size(part: nn.Module) -> int:
    return sum(tensor.numel() * tensor.itemsize for tensor in part.parameters())
