"""A data set in parts, so that several machines can work on it without knowing of each other."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 1. Which part a file belongs to follows from its name alone, not from its content.

    So no machine reads files of another's part, and a file stays in its part when others come and go.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`2/4` is the second of four. ValueError for anything else."""
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"--shard {text!r}: expected PART/PARTS from 1 on, such as 1/4 … 4/4")
        return cls(int(found[1]), int(found[2]))

    def has(self, name: str) -> bool:
        """Whether a file of this name (its path below the root, or its address) is of this part."""
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
