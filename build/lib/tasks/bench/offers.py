"""What is offered for a bench: the files of a folder, and what their places and an `about.csv` say of them."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fye_model.evaluation.tags import BY_HAND, TAGS
from tasks.bench.manifest import STYLES, UNKNOWN

ABOUT = "about.csv"
_COLUMNS = ("file", "style", "source", "licence", "tags")
_KNOWN_TAGS = {*(tag.name for tag in TAGS), *BY_HAND}


@dataclass(frozen=True)
class Offer:
    """A file offered: its name below the offered folder, and what people say of it."""

    path: Path
    name: str
    style: str
    source: str
    licence: str
    tags: tuple[str, ...]


def find_offers(folder: Path, suffixes: Iterable[str], what: str) -> list[Offer]:
    """The files below a folder with one of these endings, in the order of their names.

    `<style>/<source>/<file>` says style and source by its place, where the first part is a style; a line of
    `about.csv` (file, style, source, licence, tags; all but the first may be empty) goes before that. Raises ValueError
    for a folder without such files, and for every wrong line of about.csv.
    """
    wanted = tuple(sorted(suffixes))
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give a folder of {what}")
    paths = sorted(
        Path(place) / name
        for place, folders, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and name.lower().endswith(wanted)
    )
    if not paths:
        raise ValueError(f"no {what} in {folder}: expected files ending in {', '.join(wanted)}")
    names = {path: path.relative_to(folder).as_posix() for path in paths}
    about = _read_about(folder / ABOUT, set(names.values()))
    return [_offer(path, name, about.get(name, {})) for path, name in names.items()]


def unique_ids(names: Iterable[str]) -> dict[str, str]:
    """An id for each name: its stem without what a file name or `<portrait>__<driving>` could not hold."""
    ids: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(name).stem).strip("-.") or "file"
        stem = re.sub(r"^self\.", "self-", stem)  # `self.<video>` is a video's first frame
        new, number = stem, 1
        while new.lower() in used:  # some file systems do not tell cases apart
            number += 1
            new = f"{stem}-{number}"
        used.add(new.lower())
        ids[name] = new
    return ids


def _offer(path: Path, name: str, said: Mapping[str, str]) -> Offer:
    parts = name.split("/")[:-1]
    by_place = parts if parts and parts[0] in STYLES else []
    style = said.get("style") or (by_place[0] if by_place else UNKNOWN)
    source = said.get("source") or (by_place[1] if len(by_place) > 1 else UNKNOWN)
    tags = tuple(part for part in said.get("tags", "").split(";") if part)
    return Offer(path, name, style, source, said.get("licence") or UNKNOWN, tags)


def _read_about(path: Path, names: set[str]) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            columns, rows = list(reader.fieldnames or []), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}; expected CSV in UTF-8") from error
    if "file" not in columns or set(columns) - set(_COLUMNS):
        raise ValueError(f"{path}: its columns are {', '.join(columns)}; expected file and any of {_COLUMNS[1:]}")
    problems = []
    for line, row in enumerate(rows, 2):
        problems += [f"{path}, line {line}: {problem}" for problem in _about_problems(row, names)]
    if problems:
        raise ValueError("\n".join(problems))
    return {row["file"]: {name: (value or "").strip() for name, value in row.items() if name} for row in rows}


def _about_problems(row: Mapping[str, str], names: set[str]) -> list[str]:
    problems = []
    if row["file"] not in names:
        problems.append(f"there is no file {row['file']!r} in this folder")
    style = (row.get("style") or "").strip()
    if style and style not in (*STYLES, UNKNOWN):
        problems.append(f"style {style!r}; expected one of {', '.join(STYLES)}")
    unknown = {part for part in (row.get("tags") or "").split(";") if part} - _KNOWN_TAGS
    if unknown:
        problems.append(f"tags {', '.join(sorted(unknown))} are not known; there are {', '.join(sorted(_KNOWN_TAGS))}")
    return problems
