"""A study on disk: study.json, which knows who made which video, and the page's folder, which does not.

    study.json            the key: every case, and which method each of its letters is. Not for raters
    page/index.html       what raters open, or what is put on a web server together with `media`
    page/media/*          portraits, driving videos and results, by case and letter

Answers come back as one JSON file a rater (`answers.py`).
"""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase
from typing import Annotated, Literal

from pydantic import Field

from fye_model.config import Config, Positive
from fye_model.files import json_digest
from tasks.bench.manifest import Kind, PairRow, read_record

STUDY = "study.json"
PAGE_FOLDER = "page"
SCHEMA = 1
LETTERS = ascii_lowercase
Which = Literal["cross", "self", "all"]


class Question(Config):
    """What raters rank by. ask: as the page puts it."""

    id: str
    title: str
    ask: str


QUESTIONS = (
    Question(
        id="expression",
        title="Expression",
        ask="Which follows the driving video best: expressions, gaze and head?",
    ),
    Question(
        id="identity",
        title="Identity",
        ask="Which stays the person, animal or figure of the portrait best?",
    ),
    Question(id="overall", title="Overall", ask="Which is the best video, all in all?"),
)


class StudySettings(Config):
    """How a study is drawn and shown. pairs: which of the bench's. size: pixels of every side; crf: of x264."""

    cases: Positive = 45
    seed: int = 0
    pairs: Which = "cross"
    size: Annotated[int, Field(ge=64, le=1024, multiple_of=2)] = 384
    crf: Annotated[int, Field(ge=0, le=40)] = 20


class Case(Config):
    """One pair of the bench as raters see it. slots: letter -> method, shuffled for each case."""

    id: Annotated[str, Field(pattern=r"^c[0-9]+$")]
    portrait: str
    driving: str
    kind: Kind
    slots: dict[str, str]

    @property
    def pair(self) -> PairRow:
        """The bench's row of it."""
        return PairRow(portrait=self.portrait, driving=self.driving, kind=self.kind)


class Study(Config):
    """study.json. bench: name, protocol and sha256 of its manifest. videos: method -> digest of its videos."""

    schema_version: int = Field(SCHEMA, alias="schema")
    id: str
    bench: dict[str, str]
    software: str
    made: StudySettings
    methods: Annotated[tuple[str, ...], Field(min_length=2, max_length=len(LETTERS))]
    videos: dict[str, str]
    cases: Annotated[tuple[Case, ...], Field(min_length=1)]


def study_id(study: Study) -> str:
    """What answers name their study by: a digest of everything in it but its id and the version that wrote it."""
    values = study.model_dump(mode="json", exclude={"id", "software"})
    return json_digest(values)[:16]


def read_study(folder: Path) -> Study:
    """The key of a study; ValueError where it is missing, damaged, of another schema, or not as it was written."""
    path = folder / STUDY
    try:
        study = read_record(path, Study, SCHEMA, "build the study again")
    except FileNotFoundError:
        raise ValueError(f"{folder} is no study: it has no {STUDY}; make one with `fye study build`") from None
    if study_id(study) != study.id:
        raise ValueError(
            f"{path} was changed after it was written: its id is {study.id}, its contents give {study_id(study)}; "
            "answers cannot be told by it; build the study again from the same videos, or restore the file"
        )
    return study
