"""What settings are made of: the base class of all their classes, and kinds of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]


class Config(BaseModel):
    """Base of all configuration classes: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
