"""Pairs of portraits and drivers from folders, and what is known of each: `animations.json` beside the results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fye_model.config import Config
from fye_model.files import file_digest, folder_digest, json_digest, write_json
from tasks.engine.items import Quarantine
from tasks.footage.content import VIDEO_SUFFIXES
from tasks.media.opening import printable
from tasks.media.pictures import frame_files, pictures_of

RECORDS = "animations.json"


@dataclass(frozen=True)
class Pair:
    """A portrait, a driver, and where the result goes."""

    portrait: Path
    driving: Path
    output: Path


class PairRecord(Config):
    """What became of a pair. key: of all that the result is made from; sha256: of the result; error: why there is none;
    notes: what is to be known of it."""

    portrait: str
    driving: str
    key: str
    sha256: str | None = None
    frames: int = 0
    error: str | None = None
    notes: tuple[str, ...] = ()


def find_pairs(portraits: Path, driving: Path, output: Path, ending: str) -> tuple[list[Pair], list[str]]:
    """Every portrait with every driver; and of each file that was passed over, why. A folder of pictures alone is one
    driver, as a folder of frames.

    ending: of the results, such as `.mp4`; empty: folders. Raises ValueError for places without portraits or drivers.
    """
    (people, no_portraits), (drivers, no_drivers) = _portraits(portraits), _drivers(driving)
    names = _names(people), _names(drivers)
    pairs = [
        Pair(person, driver, output / f"{names[0][person]}--{names[1][driver]}{ending}")
        for person in people
        for driver in drivers
    ]
    return pairs, no_portraits + no_drivers


def _portraits(place: Path) -> tuple[list[Path], list[str]]:
    if not place.is_dir():
        return [place], []
    try:
        return pictures_of(place)
    except Quarantine as error:
        raise ValueError(f"{error.message} (the portraits)") from error


def _drivers(place: Path) -> tuple[list[Path], list[str]]:
    if not place.is_dir():
        return [place], []
    endings = (*sorted(VIDEO_SUFFIXES), ".parquet")
    seen = [path for path in sorted(place.iterdir()) if not path.name.startswith(".")]
    videos = [path for path in seen if path.suffix.lower() in endings]
    if videos:
        why = f"neither a video nor a landmark table, going by its ending; expected {', '.join(endings)}"
        return videos, [f"{printable(path)}: {why}" for path in seen if path not in videos]
    try:
        frame_files(place)
    except Quarantine as error:
        raise ValueError(f"{printable(place)}: neither videos ({', '.join(endings)}) nor frames in it") from error
    return [place], []


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each file: without its ending where that is enough."""
    often = Counter(path.stem for path in paths)
    return {path: path.stem if often[path.stem] == 1 else path.name.replace(".", "_") for path in paths}


def key_of_pair(pair: Pair, settings: Mapping[str, Any], model: Path) -> str:
    """Everything that a result is made from. Files count by name, size and time of change, a folder by its files'."""
    files = [_stat(place) for place in (pair.portrait, pair.driving, model)]
    return json_digest({"settings": settings, "files": files})


def _stat(place: Path) -> list[list[object]]:
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def result_digest(output: Path) -> str | None:
    """sha256 of a result, None where there is none."""
    if output.is_dir():
        return folder_digest(output)
    return file_digest(output) if output.is_file() else None


def read_records(folder: Path) -> dict[str, PairRecord]:
    """What earlier runs wrote down, by the result's name; nothing where there is no such file.

    Raises ValueError for a file that is not theirs.
    """
    path = folder / RECORDS
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: PairRecord.model_validate(record) for name, record in found.items()}
    except (ValueError, ValidationError, AttributeError) as error:
        raise ValueError(f"{path} is not what animations write down ({str(error)[:100]}); move it away") from error


def write_records(folder: Path, records: Mapping[str, PairRecord]) -> None:
    """Write all records, whole or not at all."""
    write_json(folder / RECORDS, {name: record.model_dump(mode="json") for name, record in records.items()})
