"""The page that raters open: one HTML file that needs its folder of pictures and videos, and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.study.manifest import QUESTIONS, Study

INDEX = "index.html"
MEDIA = "media"
ANSWERS_SCHEMA = 1


@dataclass(frozen=True)
class ShownCase:
    """A case as the page has it: files of `media`, the results by letter. Nothing tells which method is which."""

    id: str
    portrait: str
    driving: str
    results: Mapping[str, str]


def study_page(study: Study, cases: Sequence[ShownCase]) -> str:
    """The page of a study. Names are escaped, in the text and in the script's data."""
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    ).get_template("page.html")
    data = {
        "schema": ANSWERS_SCHEMA,
        "study": study.id,
        "media": MEDIA,
        "questions": [question.model_dump() for question in QUESTIONS],
        "cases": [asdict(case) for case in cases],
    }
    return template.render(data=data, questions=QUESTIONS, cases=len(cases), results=len(study.methods))
