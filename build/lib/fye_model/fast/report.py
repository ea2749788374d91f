"""What of the fast path is in use, and why the rest is not: one line for a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fye_model.fast.blocks import FastBlock, FastGroupNorm, FastResnet
from fye_model.fast.kernels import elementwise, feed_forward, frame_attention, group_norm, pixel_attention
from fye_model.fast.transformers import FastMotionModule, FastSpatialTransformer, FastTransformer

Size = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A part of the fast path; `reason` is why it is not in use, None where it is. PyTorch stands in for a `kernel`."""

    name: str
    reason: str | None = None
    kernel: bool = False


@dataclass(frozen=True)
class FastReport:
    """Every part of the fast path; as text, one line."""

    parts: tuple[Part, ...]

    @property
    def on(self) -> tuple[str, ...]:
        """Names of the parts in use."""
        return tuple(part.name for part in self.parts if part.reason is None)

    @property
    def off(self) -> dict[str, str]:
        """Names of the parts not in use, each with the reason."""
        return {part.name: part.reason for part in self.parts if part.reason is not None}

    def __str__(self) -> str:
        """`fast path: NAME, NAME; NAME left to PyTorch: REASON; NAME off: REASON`."""
        left: dict[tuple[str, str], list[str]] = {}
        for part in self.parts:
            if part.reason is not None:
                left.setdefault(("left to PyTorch" if part.kernel else "off", part.reason), []).append(part.name)
        off = [f"{', '.join(names)} {how}: {reason}" for (how, reason), names in left.items()]
        return f"fast path: {'; '.join([', '.join(self.on), *off])}"


def kernel_parts(blocks: Iterable[FastBlock]) -> list[Part]:
    """The kernels that these blocks call, each tried on the device, in the precision and at the sizes of the blocks."""
    blocks = list(blocks)
    transformers = [block for block in blocks if isinstance(block, FastTransformer)]
    spatial = [block for block in transformers if isinstance(block, FastSpatialTransformer)]
    motion = [block for block in transformers if isinstance(block, FastMotionModule)]
    images = [block for block in blocks if isinstance(block, FastGroupNorm | FastResnet)]
    return [
        *_parts("group norm", "", images, lambda block: (), group_norm.unsupported),
        *_parts("elementwise", "", images, lambda block: (), elementwise.unsupported),
        *_parts("attention over pixels", " of {1} channels a head", spatial, _heads, pixel_attention.unsupported),
        *_parts("attention over frames", " of {1} channels a head", motion, _heads, frame_attention.unsupported),
        *_parts("GEGLU", " of {0} channels", transformers, _gates, feed_forward.unsupported),
    ]


def _parts(
    name: str,
    kind: str,
    blocks: Sequence[Any],
    size: Callable[[Any], Size],
    unsupported: Callable[..., str | None],
) -> list[Part]:
    """A kernel, or one part for each kind of it where not all kinds have the same answer."""
    answers = {}
    for block in blocks:
        weight = next(block.parameters())
        key = (weight.device, weight.dtype, *size(block))
        answers[key] = unsupported(*key)
    if len(set(answers.values())) == 1:
        return [Part(name, next(iter(answers.values())), kernel=True)]
    named = {f"{name}{kind.format(*key[2:])}": reason for key, reason in answers.items()}
    return [Part(label, reason, kernel=True) for label, reason in named.items()]


def _heads(block: FastTransformer) -> Size:
    """Heads and their width."""
    attention = block.block.attn1
    return attention.heads, attention.to_q.weight.shape[0] // attention.heads


def _gates(block: FastTransformer) -> Size:
    """Channels before and behind the gates."""
    hidden, channels = block.block.ff.net[0].paired_weight.shape
    return channels, hidden // 2
