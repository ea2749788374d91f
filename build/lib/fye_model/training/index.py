"""`index.json`: the clips that training reads, with the frames that it may learn from and those held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fye_model.files import json_digest

SCHEMA = 1
Span = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClipEntry(_Strict):
    """One clip. `train` and `val` are half-open frame spans, [0, 0] when empty; paths are absolute once read."""

    clip: str
    name: str
    subject: str
    frames: Annotated[int, Field(gt=0)]
    train: Span
    val: Span
    landmarks: Path
    masks: Path
    latents: Path
    video: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> ClipEntry:
        for key, (start, end) in (("train", self.train), ("val", self.val)):
            if not start <= end <= self.frames:
                raise ValueError(f"{key} span [{start}, {end}) does not lie within the clip's {self.frames} frames")
        if max(self.train[0], self.val[0]) < min(self.train[1], self.val[1]):
            raise ValueError(f"train span {list(self.train)} and val span {list(self.val)} overlap")
        return self


class TrainingIndex(_Strict):
    """All clips of a data set, of one size and one landmark model. `geometry` is a .task file or `mean_mesh`."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    landmark_model: str
    size: Annotated[int, Field(gt=0)]
    factor: Annotated[int, Field(gt=0)]
    fps: Annotated[float, Field(gt=0)]
    geometry: str
    clips: tuple[ClipEntry, ...]

    @property
    def latent_size(self) -> int:
        return self.size // self.factor

    def digest(self) -> str:
        """Hash of what decides the batches. Paths stay out: the same data may lie elsewhere."""
        content = self.model_dump(mode="json", exclude={"geometry": True, "clips": {"__all__": _PATHS}})
        return json_digest(content)[:16]


_PATHS = {"landmarks", "masks", "latents", "video"}


def read_index(path: str | Path) -> TrainingIndex:
    """Read and check an index; relative paths in it are taken from its folder.

    Raises ValueError that names the file, the clip and the key.
    """
    path = Path(path)
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"training index {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"training index {path} is not valid JSON: {error}") from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        found = values.get("schema") if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"training index {path}: schema is {found!r}, expected {SCHEMA}; write it again")
    try:
        index = TrainingIndex.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{_where(problem['loc'], values)}: {problem['msg']}" for problem in error.errors())
        raise ValueError(f"training index {path}: {problems}") from error
    if index.size % index.factor:
        raise ValueError(f"training index {path}: size {index.size} is not a multiple of factor {index.factor}")
    root = path.resolve().parent
    clips = [
        clip.model_copy(update={key: root / value for key in _PATHS if (value := getattr(clip, key)) is not None})
        for clip in index.clips
    ]
    geometry = index.geometry if index.geometry == "mean_mesh" else str(root / index.geometry)
    return index.model_copy(update={"clips": tuple(clips), "geometry": geometry})


def _where(location: tuple[int | str, ...], values: dict[str, Any]) -> str:
    if len(location) >= 2 and location[0] == "clips" and isinstance(location[1], int):
        clip = values["clips"][location[1]]
        name = clip.get("name", location[1]) if isinstance(clip, dict) else location[1]
        return ".".join([f"clip {name}", *map(str, location[2:])])
    return ".".join(map(str, location))
