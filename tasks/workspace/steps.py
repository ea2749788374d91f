"""A part of a run: up to a stage, one stage alone, a stage made again, the first few videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from fye_model.config import Config
from tasks.footage.pieces import Source


class Stopped(Exception):
    """The run has come to the last stage that was asked for. No error: what is done is done."""


class Steps(Config):
    """Which part of a run is wanted; by default all of it.

    force: stages whose items are made again, whatever is there. only: a stage that alone may have something to do.
    until: the last stage. limit: how many videos are taken, the first ones.
    """

    force: tuple[str, ...] = ()
    only: str | None = None
    until: str | None = None
    limit: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Steps:
        if self.only is not None and self.until is not None:
            raise ValueError("only and until: give one of them")
        return self

    @property
    def last(self) -> str | None:
        """The stage after which the run stops."""
        return self.only or self.until

    @property
    def label(self) -> str:
        """What tells such a run from a whole one, behind the flow's name."""
        words = [f"only {self.only}"] if self.only else [f"until {self.until}"] if self.until else []
        words += [f"{self.limit} video{'s' if self.limit > 1 else ''}"] if self.limit is not None else []
        return "".join(f", {word}" for word in words)

    def named(self) -> list[str]:
        """Every stage that is named."""
        return [*self.force, *filter(None, (self.only, self.until))]

    def limited(self, sources: Sequence[Source]) -> list[Source]:
        """The sources up to the last one that is taken; those that cannot be do not count."""
        if self.limit is None:
            return list(sources)
        good = [place for place, source in enumerate(sources) if source.problem is None][: self.limit]
        return list(sources[: good[-1] + 1]) if good else list(sources)
