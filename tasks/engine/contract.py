"""What a stage declares of itself: the kinds of files that it reads and writes, and what its work needs of a machine.

Names may hold `*` (one or more characters, slashes too) and end in `?` where the file need not be there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

GIB = 1024**3


class Kind(StrEnum):
    """What a file holds, whatever it is called where it is read or written."""

    SOURCE = "source video"
    FRAME_TIMES = "frame times"
    CLIP = "square clip"
    LANDMARKS = "landmark table"
    MASKS = "mask table"
    AUTOENCODER = "autoencoder folder"
    IMAGE_ENCODER = "image encoder folder"
    THUMBNAILS = "thumbnails"
    LATENTS = "latents"
    CHECKPOINT = "checkpoint folder"
    EARLIER = "checkpoint of an earlier run"
    CURVE = "training curve"
    MODEL = "model folder"
    SELECTION = "selection table"
    EVALUATION = "evaluation folder"
    REPORT = "report"
    PORTRAIT = "portrait"
    DRIVING = "driving video"
    RESULT = "result video"
    SCORES = "scores of a result"
    PACK = "packed data set"
    REENACTED = "reenacted frames"


Files = Mapping[str, str]  # name -> a `Kind`, or in the same way a stage's own words for a file of its own


@dataclass(frozen=True)
class Resources:
    """What one worker of a stage takes. `gpus` counts where the run computes on one; on the CPU nobody gets any."""

    cpus: int = 1
    gpus: float = 0.0
    memory_gib: float = 1.0
    pooled: bool = True  # item by item in processes of their own; else the whole stage in this process

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.cpus} CPU{gpus}, {self.memory_gib:g} GiB, {'each worker' if self.pooled else 'in one process'}"


ONE_CPU = Resources()


def problems_with(found: Iterable[str], declared: Files) -> list[str]:
    """What is wrong with these file names: those that nobody declared, and those declared that are missing."""
    names = tuple(found)
    return list((_problems if len(names) <= _FEW else _problems.__wrapped__)(names, tuple(declared)))


_FEW = 32  # names of one item's files: the same for every item of a stage


@lru_cache(maxsize=64)
def _problems(names: tuple[str, ...], declared: tuple[str, ...]) -> list[str]:
    patterns = {name: _pattern(name) for name in declared}
    unknown = [name for name in names if not any(pattern.fullmatch(name) for pattern in patterns.values())]
    missing = [
        name
        for name, pattern in patterns.items()
        if not name.endswith("?") and not any(pattern.fullmatch(found) for found in names)
    ]
    return [f"{name} is not declared" for name in unknown] + [f"{name} is missing" for name in missing]


@lru_cache(maxsize=256)
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".+".join(re.escape(part) for part in name.removesuffix("?").split("*")))
