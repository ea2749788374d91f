"""What methods made of a bench: their folders of `<portrait>__<driving>.mp4`, and all that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.bench.manifest import Bench

REFERENCE = "reference"  # the portrait repeated: scored beside every method
WARP = "mesh warp"  # the portrait bent by its landmarks: made and scored beside every method where it is asked for
_BUILT_IN = {REFERENCE: "the portrait repeated, in every table", WARP: "made by --warp"}
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
        if not equals or not folder:
            problem: str | None = "expected NAME=FOLDER"
        else:
            problem = f"the name {name!r} was given before" if name in found else _method_problem(name, Path(folder))
        if problem is None:
            found[name] = Path(folder)
        else:
            problems.append(f"--method {word!r}: {problem}")
    if problems:
        raise ValueError("\n".join(problems))
    return found


def check_methods(methods: Mapping[str, str]) -> dict[str, Path]:
    """Name -> folder, for those who give a mapping; ValueError names every entry that is wrong."""
    told = {name: _method_problem(name, Path(folder)) for name, folder in methods.items()}
    if problems := [f"method {name!r}: {problem}" for name, problem in told.items() if problem is not None]:
        raise ValueError("\n".join(problems))
    return {name: Path(folder) for name, folder in methods.items()}


def _method_problem(name: str, folder: Path) -> str | None:
    if not _NAME.fullmatch(name):
        return "expected NAME=FOLDER, the name of letters, digits and ' ._+-'"
    if name in _BUILT_IN:
        return f"{name!r} is {_BUILT_IN[name]}; give another name"
    return None if folder.is_dir() else f"{folder} is not a folder"


def check_output(output: str, inputs: Mapping[str, Path]) -> None:
    """Raise ValueError for an output in a folder that is read: what is written there would be an extra file of it."""
    if "://" in output:
        return
    place = Path(output).resolve()
    for what, folder in inputs.items():
        if place.is_relative_to(folder.resolve()):
            raise ValueError(f"output {output} lies in {folder}, which is {what}; give a folder of its own")


def find_method(bench: Bench, name: str, folder: Path) -> Method:
    """A method's videos, with every missing pair and every extra file named. What is in them, `score` looks at."""
    wanted = {f"{pair.name}{_ENDING}": pair.name for pair in bench.pairs}
    there = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
    problems = [f"{name}: {file} is missing" for file in wanted if file not in there]
    problems += [f"{name}: {file} belongs to no pair of the bench; remove it" for file in there if file not in wanted]
    nowhere = [file for file, path in there.items() if file in wanted and not path.is_file()]
    problems += [f"{name}: {file} is a link that leads nowhere, or no file; put the video there" for file in nowhere]
    videos = {pair: there[file].resolve() for file, pair in wanted.items() if file in there and file not in nowhere}
    return Method(name, videos, tuple(problems))
