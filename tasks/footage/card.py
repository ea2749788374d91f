"""What is known of a source of footage: `datasets/<name>/source.yaml`, or a file of your own in that form.

A card says how a subject is read from a file's name, what the licence is, how much there should be, and which subjects
are held out. Nothing in it is code; `names` are regular expressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from fye_model.config import Config
from tasks.workspace.recipes import explain_problems
from tasks.workspace.yaml_text import read_yaml

CARDS = Path(__file__).resolve().parents[2] / "datasets"
DEFAULT_CARD = "folder"
TALKING = "talking"
_PLACE = re.compile(r"(?<![a-z])(indoor|outdoor)s?(?![a-z])")


class Terms(Config):
    """What a licence says, and whether its text was read by whoever wrote the card."""

    text: str
    verified: bool


class Licence(Config):
    """The collectors' terms for their lists, and the terms of the videos themselves."""

    of_the_lists: Terms | None = None
    of_the_videos: Terms


class Counts(Config):
    """How much there should be, where somebody counted."""

    videos: int | None = None
    clips: int | None = None
    hours: float | None = None
    subjects: int | None = None
    expressions: int | None = None  # of each subject
    talking_minutes_per_subject: float | None = None
    seconds_per_clip: float | None = None


class HeldOut(Config):
    """The rule of the split; `published_list`: a file beside the card with the held-out subjects, a line each."""

    by: Literal["subject", "tail"]
    fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: int | None
    published_list: str | None = None


class Card(Config):
    """A source of footage. `folder`: where its other files lie.

    names: regular expressions over a file's path below the root, without its ending, `/` between folders. The first
    that fits gives the `subject`. takes: a file of names of expressions, of which a recording is one, or `talking`.
    lists: the form of the collectors' lists of spans. consent: what the people shown have agreed to, None: nothing
    is known of it. aliases: another name of a subject -> the name that is kept.
    """

    name: str
    title: str
    address: str | None = None
    citation: str | None = None
    published: str
    licence: Licence
    consent: str | None = None
    counts: Counts = Counts()
    layout: str
    subject: str
    names: tuple[str, ...] = ()
    one_subject: str | None = None
    aliases: dict[str, str] = Field(default_factory=dict)
    frame_rate: Annotated[float, Field(gt=0)] | None = None  # of folders of pictures, where one rate holds for all
    frame_folders: bool = False
    lists: Literal["hdtf", "vfhq"] | None = None
    groups: tuple[str, ...] = ()
    held_out: HeldOut
    expressions: str
    takes: str | None = None
    folder: Path

    @field_validator("names")
    @classmethod
    def _patterns(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                groups = re.compile(name).groupindex
            except (re.error, RecursionError, OverflowError) as error:
                shown = name if len(name) < 80 else f"{name[:77]}…"
                raise ValueError(f"{shown!r} is no regular expression: {error}") from None
            if "subject" not in groups:
                raise ValueError(f"{name!r} has no group (?P<subject>…)")
        return names

    @cached_property
    def take_names(self) -> tuple[str, ...]:
        """The names of expressions that a recording may have; empty where recordings are not named so."""
        return tuple(_lines(self.folder / self.takes)) if self.takes else ()

    @cached_property
    def held_out_subjects(self) -> frozenset[str]:
        """The subjects that the published list holds out."""
        listed = self.held_out.published_list
        return frozenset(_lines(self.folder / listed)) if listed else frozenset()


@dataclass(frozen=True)
class Naming:
    """What a file's name says: whom it shows, what they do, and where.

    `by_layout` is False where none of the card's patterns fits (the folder or the file then names the subject), or
    where the recording is none of those that the card names.
    """

    subject: str
    take: str | None = None
    place: str | None = None
    by_layout: bool = True


def card_names() -> list[str]:
    """The sources that come with this project."""
    return sorted(path.parent.name for path in CARDS.glob("*/source.yaml"))


def load_card(name: str | Path) -> Card:
    """A card by its name, or from a file. Raises ValueError for one that is not there, or says it wrongly."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = CARDS / str(name) / "source.yaml"
        if str(name) not in card_names():
            raise ValueError(
                f"there is no source {str(name)!r}; there is {', '.join(card_names())}, or give a source.yaml of yours"
            )
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path} is no source: expected keys such as name, licence and layout")
    try:
        card = Card.model_validate({**values, "folder": path.parent})
        for alias in card.aliases:
            merged(alias, card.aliases)
        return card
    except ValidationError as error:
        raise ValueError(f"{path}: " + "; ".join(explain_problems(error, Card))) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_name(card: Card, relative: PurePosixPath) -> Naming:
    """What the name of a file below a source's root says; aliases are resolved."""
    stem = relative.with_suffix("").as_posix()
    take = _take(card.take_names, relative.stem)
    place = _PLACE.search(stem.lower())
    where = place[1] if place else None
    if card.one_subject is not None:
        return Naming(card.one_subject, take, where)
    for pattern in card.names:
        found = re.fullmatch(pattern, stem)
        if found:
            named = not card.take_names or take is not None
            return Naming(merged(found["subject"], card.aliases), take, where, by_layout=named)
    return Naming(merged(plain_subject(relative), card.aliases), take, where, by_layout=False)


def plain_subject(relative: PurePosixPath) -> str:
    """The first folder below the root, else the file's own name."""
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def merged(subject: str, aliases: Mapping[str, str]) -> str:
    """The name that is kept of a person with several. Raises ValueError when the names lead in a circle."""
    way = [subject]
    while way[-1] in aliases:
        way.append(aliases[way[-1]])
        if way.count(way[-1]) > 1:
            raise ValueError(f"these names of one person lead in a circle: {' -> '.join(way)}")
    return way[-1]


def _take(names: tuple[str, ...], stem: str) -> str | None:
    """Which expression (or talking) a file's name begins with; `grin-02` is one, `grinning` is none."""
    if not names:
        return None
    plain = _PLACE.sub("", stem.lower()).strip("-_ ").replace("-", "_").replace(" ", "_")
    for name in sorted((*names, TALKING), key=len, reverse=True):
        if plain.startswith(name) and not plain[len(name) :][:1].isalpha():
            rest = plain[len(name) :].strip("_")
            if not rest or rest[0].isdigit():
                return name
    return None


def _lines(path: Path) -> list[str]:
    """Names, one a line; ValueError names a file that cannot be read."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
