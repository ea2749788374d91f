"""A bench on disk: bench.json, four tables, and the portraits and driving videos that they name.

    bench.json          what it is, how it was made, and size and sha256 of every other file
    portraits.csv       a row a portrait; those with `frame_of` are a driving video's first frame, for self reenactment
    driving.csv         a row a driving video
    pairs.csv           who performs whom
    rejected.csv        what was offered and not taken, with the reason
    portraits/*.png     square pictures
    driving/*.mp4       square videos of constant rate, without sound

`datasets/emojibench/schema.yaml` describes every column. Paths are relative to the folder and never leave it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator

from fye_model.config import Config, Positive
from fye_model.files import file_digest, parse_json, write_atomic, write_json

MANIFEST = "bench.json"
SCHEMA = 1
PROTOCOL = "emojibench-1"
SEPARATOR = "__"  # between the two ids in the name of a result
UNKNOWN = "unknown"

Style = Literal["cartoon", "real", "animal", "unknown"]
STYLES: tuple[Style, ...] = ("cartoon", "real", "animal")
Kind = Literal["self", "cross"]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9](_?[A-Za-z0-9.-])*$")]
Tags = tuple[str, ...]
Row = TypeVar("Row", bound=Config)


class PortraitRow(Config):
    """portraits.csv: a square picture.

    source: the text-to-image model or the collection that it is from. detectable: the landmark model finds a face in
    the stored file. frame_of: the driving video whose first frame it is; empty for a portrait of its own. left, top,
    side: the square in the upright source picture, in its pixels; may reach outside.
    """

    id: Id
    file: str
    style: Style
    source: str
    licence: str
    detectable: bool
    size: Positive
    frame_of: str
    source_file: str
    source_sha256: str
    left: int
    top: int
    side: Positive


class DrivingRow(Config):
    """driving.csv: a square video of constant rate.

    frames: as decoded. start_s: the instant of its first frame in the source. detected: share of the frames with a
    face. yaw_deg, pitch_deg, roll_deg: largest angle to either side. left, top, side: the square in the source's
    frames.
    """

    id: Id
    file: str
    fps: Annotated[float, Field(gt=0)]
    frames: Annotated[int, Field(ge=2)]
    size: Positive
    tags: Tags
    source: str
    licence: str
    detected: Annotated[float, Field(ge=0, le=1)]
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    source_file: str
    source_sha256: str
    start_s: float
    left: int
    top: int
    side: Positive

    @field_validator("tags", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part for part in value.split(";") if part) if isinstance(value, str) else value


class PairRow(Config):
    """pairs.csv: this portrait performs this driving video. self: the portrait is the video's own first frame."""

    portrait: Id
    driving: Id
    kind: Kind

    @property
    def name(self) -> str:
        """`<portrait>__<driving>`: the name of a result without its ending."""
        return f"{self.portrait}{SEPARATOR}{self.driving}"


class RejectedRow(Config):
    """rejected.csv: a file that was offered for the bench and could not be taken."""

    what: Literal["portrait", "driving"]
    source_file: str
    reason: str
    message: str


class FileEntry(Config):
    """Size in bytes and sha256 of a file."""

    size: int
    sha256: str


class Header(Config):
    """bench.json. `made`: the settings by which it can be made again from the same sources."""

    schema_version: int = Field(alias="schema")
    name: str
    protocol: str
    software: str
    landmark_model: str
    made: dict[str, float | int | str]
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Bench:
    """A bench in `folder`, as its manifest tells it."""

    folder: Path
    header: Header
    portraits: tuple[PortraitRow, ...]
    driving: tuple[DrivingRow, ...]
    pairs: tuple[PairRow, ...]
    rejected: tuple[RejectedRow, ...]

    def portrait(self, pair: PairRow) -> PortraitRow:
        """The row of a pair's portrait; KeyError where there is none."""
        return self._portraits[pair.portrait]

    def driver(self, pair: PairRow) -> DrivingRow:
        """The row of a pair's driving video; KeyError where there is none."""
        return self._drivers[pair.driving]

    @cached_property
    def _portraits(self) -> dict[str, PortraitRow]:
        return {row.id: row for row in self.portraits}

    @cached_property
    def _drivers(self) -> dict[str, DrivingRow]:
        return {row.id: row for row in self.driving}

    def path(self, file: str) -> Path:
        """Where a file of the manifest lies; ValueError for a name that leaves the folder."""
        if problem := leaves(self.folder, file):
            raise ValueError(f"{self.folder}: {problem}")
        return self.folder / file


TABLES: dict[str, type[Config]] = {
    "portraits.csv": PortraitRow,
    "driving.csv": DrivingRow,
    "pairs.csv": PairRow,
    "rejected.csv": RejectedRow,
}


def leaves(folder: Path, file: str) -> str | None:
    """What is wrong with a file name of a manifest that does not stay in its folder; None for a good one."""
    pure = PurePosixPath(file)
    if not file or pure.is_absolute() or ".." in pure.parts or "\\" in file or ":" in pure.parts[0]:
        return f"{file!r} leaves the bench's folder; expected a relative path without '..', with '/' between its parts"
    if not (folder / file).resolve().is_relative_to(folder.resolve()):
        return f"{file!r} is a link that leads out of the bench's folder; put the file itself there"
    return None


def write_rows(path: Path, record: type[Config], rows: Sequence[Config]) -> None:
    """Write a table as CSV: a column a field, the same bytes for the same rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(record.model_fields)
    for row in rows:
        values = row.model_dump(mode="json")
        writer.writerow([_cell(values[name]) for name in record.model_fields])
    write_atomic(path, text.getvalue().encode())


def read_rows(path: Path, record: type[Row]) -> tuple[Row, ...]:
    """Read what `write_rows` wrote. ValueError names file, line and column of every cell that is wrong."""
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle, restkey="(too many cells)")
        found, wanted = list(reader.fieldnames or []), list(record.model_fields)
        if found != wanted:
            raise ValueError(f"{path}: its columns are {', '.join(found) or 'none'}; expected {', '.join(wanted)}")
        rows, problems = [], []
        for values in reader:
            try:
                rows.append(record.model_validate(values))
            except ValidationError as error:
                problems += [
                    f"{path}, line {reader.line_num}, {'.'.join(map(str, item['loc']))}: {item['msg']}, "
                    f"got {item['input']!r}"
                    for item in error.errors()
                ]
    if problems:
        raise ValueError("\n".join(problems))
    return tuple(rows)


def write_manifest(folder: Path, header: Header, tables: dict[str, Sequence[Config]]) -> None:
    """Write the four tables, then bench.json with the digests of all files that lie in the folder."""
    for name, record in TABLES.items():
        write_rows(folder / name, record, tables[name])
    files = {
        path.relative_to(folder).as_posix(): FileEntry(size=path.stat().st_size, sha256=file_digest(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    whole = header.model_copy(update={"files": files})
    write_json(folder / MANIFEST, whole.model_dump(mode="json", by_alias=True))


def read_header(folder: Path) -> Header:
    """bench.json of a folder; ValueError where it is missing, damaged or of another schema."""
    try:
        return read_record(folder / MANIFEST, Header, SCHEMA, "fetch or build the bench again")
    except FileNotFoundError:
        raise ValueError(f"{folder} is no bench: it has no {MANIFEST}; make one with `fye bench build`") from None


def read_record(path: Path, record: type[Row], schema: int, advice: str) -> Row:
    """A JSON file that says its schema, as a record. advice: what to do about one that cannot be read.

    Raises FileNotFoundError where there is none, and ValueError, which names it, for one that is damaged or of another
    schema.
    """
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {advice}") from error
    found = values.get("schema") if isinstance(values, dict) else type(values).__name__
    if found != schema:
        raise ValueError(f"{path} is of schema {found!r}; this version reads {schema}")
    try:
        return record.model_validate(values)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ValueError(f"{path}: {said}") from error


def read_bench(folder: Path) -> Bench:
    """A bench's manifest and tables, as they stand there; `check.py` says whether its files are what they say.

    Raises ValueError for what is no bench, and for rows that cannot be read.
    """
    header = read_header(folder)
    try:
        return Bench(
            folder,
            header,
            read_rows(folder / "portraits.csv", PortraitRow),
            read_rows(folder / "driving.csv", DrivingRow),
            read_rows(folder / "pairs.csv", PairRow),
            read_rows(folder / "rejected.csv", RejectedRow),
        )
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename}: this table of the bench is missing; fetch or build it again") from error
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(f"a table of {folder} cannot be read: {error}") from error


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ";".join(map(str, value)) if isinstance(value, list) else str(value)
