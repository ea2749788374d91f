"""Command lines as documents write them: found, split into words, and held against the command line's own parser."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tests.documents import ROOT, blocks

_SHELL = ("sh", "bash")


@dataclass(frozen=True)
class Written:
    """A command of a document: its words, `fye` or another program first. What a document leaves out is left out."""

    document: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)


def lines_of(document: str) -> Iterator[str]:
    """The lines of a document's shell blocks, those that a backslash continues as one."""
    for block in blocks(document):
        if block.language in _SHELL:
            yield from block.text.replace("\\\n", " ").splitlines()


def written(document: str, program: str) -> list[Written]:
    """Every command of this program in a document's shell blocks; `[--option X]` counts as given."""
    found = []
    for line in lines_of(document):
        words = shlex.split(re.sub(r"[\[\]]", "", line), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]  # the environment
        if words and words[0] == program:
            end = next((place for place, word in enumerate(words) if word in ("&", "|", "&&", ";")), len(words))
            found.append(Written(document, tuple(words[:end])))
    return found


def spoken(document: str) -> list[Written]:
    """What a document's text calls a command, as `fye …` in a line of its own words: often only its beginning."""
    text = re.sub(r"^( *)```.*?^\1```$", "", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"`(?:[A-Z_]+=\S+ )*(fye [^`]+)`", text)
    return [Written(document, tuple(re.sub(r"[\[\]…]", "", line).split())) for line in found]
