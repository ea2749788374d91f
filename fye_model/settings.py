"""What settings are made of: the base class of all their classes, and kinds of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]


_every: dict[type[BaseModel], set[str]] = {}


class Config(BaseModel):
    """Base of all configuration classes: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_post_init(self, context: object, /) -> None:
        """Share one set of names among the records of a class that were given every field.

        Pydantic makes one for each: 2 KB, half of what a record takes, and a data set has many.
        """
        kind, given = type(self), self.__pydantic_fields_set__
        if len(given) == len(kind.model_fields):
            object.__setattr__(self, "__pydantic_fields_set__", _every.setdefault(kind, given))
