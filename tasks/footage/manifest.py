"""A table of footage instead of a folder: files or addresses, spans of them, subjects, licences. CSV or Parquet.

A row is one span of one file; a file may have many. What is wrong with a row costs that row, and is named with
its line.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError, field_validator, model_validator

from fye_model.config import Config
from fye_model.files import whole_file

MANIFEST_SUFFIXES = frozenset({".csv", ".parquet"})
_DAY_OR_YEAR = re.compile(r"[0-9]{4}(-[0-9]{2}-[0-9]{2})?")


class Row(Config):
    """One span of one file. Only `uri` must be given.

    uri: a path (relative ones start where the table lies) or any fsspec address. start_s, end_s: seconds after the
    file's first frame; its start and end where nothing is given. fps: of a folder of pictures. sha256, size: of the
    file, so that an address need not be read to be known. split: where its subject belongs, whatever the recipe draws.
    recorded: the day, `2019-05-31`, or the year, `2019`, in which that was; it changes nothing that is made of it.
    """

    uri: str
    start_s: float = 0.0
    end_s: float | None = None
    name: str | None = None
    subject: str | None = None
    licence: str | None = None
    fps: float | None = None
    split: Literal["train", "val"] | None = None
    sha256: str | None = None
    size: int | None = None
    recorded: str | None = None

    @field_validator("sha256")
    @classmethod
    def _hex(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 64 or not set(value) <= set("0123456789abcdef")):
            raise ValueError(f"expected 64 hexadecimal digits, got {value!r}")
        return value

    @field_validator("recorded", mode="before")
    @classmethod
    def _day_or_year(cls, value: object) -> str | None:
        """As text; Parquet may hold days as dates and years as whole numbers."""
        if value is None:
            return None
        text = str(value)
        if type(value) in (str, int, date) and _DAY_OR_YEAR.fullmatch(text):  # not their subclasses: bool, datetime
            with suppress(ValueError):  # of days that no calendar has
                date.fromisoformat(text if "-" in text else f"{text}-01-01")
                return text
        raise ValueError(f"expected a day as 2019-05-31 or a year as 2019, got {text!r}")

    @model_validator(mode="after")
    def _span(self) -> Row:
        end = math.inf if self.end_s is None else self.end_s
        if not (0 <= self.start_s < end) or math.isnan(end):
            raise ValueError(f"expected 0 <= start_s < end_s, got {self.start_s:g} and {self.end_s}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"expected a rate above 0, got {self.fps:g} frames a second")
        if (self.sha256 is None) != (self.size is None):
            raise ValueError("sha256 and size go together")
        return self


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: the line that it ends on (from 1, with the head), what it is about, what is wrong."""

    line: int
    uri: str
    message: str


def read_manifest(path: Path) -> tuple[list[Row], list[BadRow]]:
    """The rows of a table, and those that cannot be used. Raises ValueError for a table that is none."""
    try:
        columns, rows = _read(path)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read as a table of footage: {error}") from None
    valid = list(Row.model_fields)
    for column in columns:
        if column not in valid:
            near = get_close_matches(str(column), valid, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(valid)}"
            raise ValueError(f"{path}: unknown column {column!r}; {hint}")
    if "uri" not in columns:
        raise ValueError(f"{path} has no column 'uri' (a path or an address); it has {', '.join(columns) or 'none'}")
    good, bad = [], []
    for line, values in rows:
        try:
            good.append(Row.model_validate({key: value for key, value in values.items() if value not in (None, "")}))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            said = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"]
            bad.append(BadRow(line, str(values.get("uri") or ""), f"{where}: {said}" if where else said))
    return good, bad


def write_manifest(path: Path, rows: Sequence[Row]) -> None:
    """Write a table that `read_manifest` reads, of the columns that are used. Raises ValueError for another ending."""
    values = [row.model_dump() for row in rows]
    used = [name for name in Row.model_fields if name == "uri" or any(row[name] is not None for row in values)]
    if path.suffix not in MANIFEST_SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(sorted(MANIFEST_SUFFIXES))}")
    with whole_file(path) as temporary:
        if path.suffix == ".parquet":
            pq.write_table(pa.table({name: [row[name] for row in values] for name in used}), temporary)
        else:
            with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                writer = csv.DictWriter(file, used, extrasaction="ignore", lineterminator="\n")
                writer.writeheader()
                writer.writerows(values)


def two_splits(rows: Iterable[tuple[str, str | None]]) -> list[str]:
    """Subjects that a table puts into both splits. rows: subject, split."""
    seen: dict[str, set[str]] = {}
    for subject, split in rows:
        if split is not None:
            seen.setdefault(subject, set()).add(split)
    return sorted(subject for subject, splits in seen.items() if len(splits) > 1)


def _read(path: Path) -> tuple[list[str], Iterable[tuple[int, Mapping[str, object]]]]:
    """The columns, and the rows, each with its line."""
    if path.suffix.lower() == ".parquet":
        table = pq.read_table(path)
        return table.column_names, enumerate(table.to_pylist(), start=2)
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file, strict=True, restkey="fields that have no column")
        rows = [(reader.line_num, values) for values in reader]  # empty lines are no rows, and a row may have several
        return list(reader.fieldnames or []), rows
