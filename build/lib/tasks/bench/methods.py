"""What methods made of a bench: their folders of `<portrait>__<driving>.mp4`, and all that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.bench.manifest import Bench

REFERENCE = "reference"  # the portrait repeated: scored beside every method
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]*")
_ENDING = ".mp4"


@dataclass(frozen=True)
class Method:
    """A method's name, its videos by the pair's name, and what is wrong with its folder."""

    name: str
    videos: Mapping[str, Path]
    problems: tuple[str, ...]


def parse_methods(words: list[str]) -> dict[str, Path]:
    """`NAME=FOLDER …` as a mapping; ValueError names every word that is wrong."""
    found: dict[str, Path] = {}
    problems = []
    for word in words:
        name, equals, folder = word.partition("=")
        if not equals or not folder or not _NAME.fullmatch(name):
            problems.append(f"--method {word!r}: expected NAME=FOLDER, the name of letters, digits and ' ._+-'")
        elif name == REFERENCE:
            problems.append(f"--method {word!r}: {REFERENCE!r} is the portrait repeated, in every table; give another")
        elif name in found:
            problems.append(f"--method {word!r}: the name {name!r} was given before")
        elif not Path(folder).is_dir():
            problems.append(f"--method {word!r}: {folder} is not a folder")
        else:
            found[name] = Path(folder)
    if problems:
        raise ValueError("\n".join(problems))
    return found


def find_method(bench: Bench, name: str, folder: Path) -> Method:
    """A method's videos, with every missing pair and every extra file named. What is in them, `score` looks at."""
    wanted = {f"{pair.name}{_ENDING}": pair.name for pair in bench.pairs}
    there = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
    problems = [f"{name}: {file} is missing" for file in wanted if file not in there]
    problems += [f"{name}: {file} belongs to no pair of the bench; remove it" for file in there if file not in wanted]
    videos = {pair: there[file].resolve() for file, pair in wanted.items() if file in there}
    return Method(name, videos, tuple(problems))
