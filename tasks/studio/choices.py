"""What a visitor chooses on the page, as the settings that `fye animate` has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from annotated_types import Ge, Le
from pydantic import Field, ValidationError

from fye_model.animation.transfer import KINDS, Transfer, only
from fye_model.config import Config
from tasks.animation.request import AnimateSettings
from tasks.workspace.recipes import explain_problems

STRENGTHS = {  # names of `Transfer`, and what people call them
    "mouth": ("Mouth", "with the jaw"),
    "eyes": ("Eyes", "how far they open and close"),
    "brows": ("Brows", "up, down, frowning"),
    "pose": ("Head", "turning, nodding, moving"),
    "gaze": ("Gaze", "where the eyes look"),
}
KINDS_SHOWN = {"Everything": tuple(KINDS), "The face, not the head": ("expression", "gaze")} | {
    "Only the expression": ("expression",),
    "Only the head": ("pose",),
    "Only the gaze": ("gaze",),
}
FACES = ("largest", "left", "centre", "right", *map(str, range(8)))  # `all` goes with pasting back; no file's name does


class Choices(Config):
    """The page's fields. strengths by their names in `Transfer`; the rest: see `Transfer` and `AnimateSettings`."""

    mouth: float = 1.0
    eyes: float = 1.0
    brows: float = 1.0
    pose: float = 1.0
    gaze: float = 1.0
    rotation: str = "relative"
    position: str = "relative"
    neutral: str = "auto"
    ease_s: float = 0.0
    proportions: bool = True
    limits: bool = True
    face: str = "largest"
    driver_face: str = "largest"
    paste_back: bool = False
    side_by_side: bool = False
    still_s: float = Field(default=AnimateSettings().still_s)

    @classmethod
    def given(cls, fields: Mapping[str, object]) -> Self:
        """What the page's fields hold; one that was emptied is as usual. Raises ValueError in one line."""
        try:
            return cls.model_validate({name: value for name, value in fields.items() if value is not None})
        except ValidationError as error:
            raise ValueError("; ".join(explain_problems(error, cls))) from error

    def settings(self, where: dict[str, object]) -> AnimateSettings:
        """The settings. where: `points` or `box` of the face. Raises ValueError in one line for what does not go."""
        for name in (self.face, self.driver_face):
            if name not in (*FACES, "all"):  # a page gives no names of files: the job would open them
                raise ValueError(f"face {name!r}: expected one of {', '.join(FACES)}, all")
        given = self.model_dump()
        transfer = {name: given.pop(name) for name in Transfer.model_fields}
        try:
            return AnimateSettings.model_validate({**given, **where, "transfer": transfer})
        except ValidationError as error:
            raise ValueError("; ".join(explain_problems(error, AnimateSettings))) from error


def strengths_of(kind: str) -> list[float]:
    """What the sliders say for one of `KINDS_SHOWN`, in the order of `STRENGTHS`."""
    wanted = only(KINDS_SHOWN[kind])
    return [wanted[name] for name in STRENGTHS]


def bounds(name: str) -> tuple[float, float]:
    """The least and the greatest value of a setting of `Transfer`."""
    rules = Transfer.model_fields[name].metadata
    (least,) = [rule.ge for rule in rules if isinstance(rule, Ge)]
    (most,) = [rule.le for rule in rules if isinstance(rule, Le)]
    return float(least), float(most)  # type: ignore[arg-type]  # of a number's rule they are numbers
