"""Raters' answer files: read, held against the study, and each that cannot be used named with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, ValidationError

from fye_model.config import Config
from tasks.study.manifest import QUESTIONS, Study

_MOST_BYTES = 8 << 20  # of an answer file; the page writes a few kilobytes
_MOST_TOLD = 3  # problems of one file
Letters = tuple[str, ...]


class Answers(Config):
    """One rater's file, as the page writes it.

    rater: drawn by the page. name: what the rater typed, if anything. order: the cases as this rater had them. at: the
    case and question that were open. answers: case -> question -> letters, the best first; whole or not.
    """

    schema_version: Literal[1] = Field(alias="schema")
    study: str
    rater: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    name: Annotated[str, Field(max_length=200)]
    started: AwareDatetime
    saved: AwareDatetime
    order: tuple[str, ...]
    at: tuple[int, int]
    answers: dict[str, dict[str, Letters]]


class LeftOut(Config):
    """A file that was given and not used."""

    file: str
    reason: str


@dataclass(frozen=True)
class Collected:
    """Raters' answers, one file a rater, by its name; and what was left out."""

    answers: dict[str, Answers]
    left_out: tuple[LeftOut, ...]


def find_files(places: Sequence[Path]) -> list[Path]:
    """The files given, and every .json of the folders given. ValueError names places that are not there."""
    gone = [str(place) for place in places if not place.exists()]
    if gone or not places:
        raise ValueError(f"no such file or folder: {', '.join(gone)}" if gone else "give answer files or their folders")
    found: dict[Path, Path] = {}
    for place in places:
        inside = sorted(path for path in place.rglob("*.json") if path.is_file()) if place.is_dir() else [place]
        for path in inside:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def collect(study: Study, files: Iterable[Path]) -> Collected:
    """Read answer files. Of several by one rater the one that was saved last counts."""
    taken: dict[str, Answers] = {}
    left_out: list[LeftOut] = []
    by_rater: dict[str, str] = {}  # rater -> name of the file that counts
    for path in files:
        name = str(path)
        try:
            found = read_answers(study, path)
        except ValueError as error:
            left_out.append(LeftOut(file=name, reason=str(error)))
            continue
        other = by_rater.get(found.rater)
        if other is not None:
            older, newer = (name, other) if found.saved <= taken[other].saved else (other, name)
            left_out.append(
                LeftOut(file=older, reason=f"the same rater as {newer}, which was saved later or no earlier")
            )
            if older == name:
                continue
            del taken[other]
        by_rater[found.rater], taken[name] = name, found
    return Collected(taken, tuple(left_out))


def read_answers(study: Study, path: Path) -> Answers:
    """One answer file of this study, with at least one whole ranking. ValueError says what is wrong with it."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes; an answer file has a few kilobytes")
        values = json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError("not a text in UTF-8; expected the file that the page downloads") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON ({error}); perhaps it was cut off on its way; ask for it again") from None
    if not isinstance(values, dict) or "study" not in values:
        raise ValueError("not an answer file; expected the file that the page downloads")
    if values["study"] != study.id:
        raise ValueError(f"answers of the study {str(values['study'])[:40]!r}, this one is {study.id!r}")
    try:
        found = Answers.model_validate(values)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ValueError(_some(told)) from None
    if problems := _problems(study, found):
        raise ValueError(_some(problems))
    if not whole_rankings(study, found):
        raise ValueError("holds no finished ranking")
    return found


def whole_rankings(study: Study, answers: Answers) -> dict[tuple[str, str], Letters]:
    """(case, question) -> letters, the best first, of everything that was ranked to the end."""
    letters = {case.id: len(case.slots) for case in study.cases}
    return {
        (case, question): order
        for case, of in answers.answers.items()
        for question, order in of.items()
        if len(order) == letters[case]
    }


def _problems(study: Study, found: Answers) -> list[str]:
    """Answers to what was not asked, and rankings that name a letter twice or one that was not shown."""
    slots = {case.id: set(case.slots) for case in study.cases}
    questions = {question.id for question in QUESTIONS}
    problems = []
    for case, of in found.answers.items():
        if case not in slots:
            problems.append(f"answers.{case}: the study has no such case")
            continue
        for question, order in of.items():
            if question not in questions:
                problems.append(
                    f"answers.{case}.{question}: no such question; there are {', '.join(sorted(questions))}"
                )
            elif len(set(order)) != len(order) or not set(order) <= slots[case]:
                there = ", ".join(sorted(slots[case]))
                problems.append(f"answers.{case}.{question}: {', '.join(order)}; expected {there}, each at most once")
    return problems


def _some(problems: Sequence[str]) -> str:
    more = len(problems) - _MOST_TOLD
    return "; ".join(problems[:_MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")
