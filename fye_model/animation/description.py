"""`fye.json` of a model folder: every value that animation has to share with training, typed and checked.

Written by selection (or by an import), kept by `save_pretrained` and `from_pretrained`. What an older version left out
is filled in with the recipes' values, and `assumed` names what was: a caller says so before it relies on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from fye_model.config import ClipConfig, Config, LandmarkConfig, SamplingConfig
from fye_model.files import parse_json, write_json
from fye_model.landmarks.boxes import PixelBox, Square, face_square
from fye_model.landmarks.drawing import Variant
from fye_model.landmarks.mouths import TrainedMouths
from fye_model.landmarks.placement import FacePlacement
from fye_model.landmarks.poses import TrainedPoses
from fye_model.version import this_software

DESCRIPTION = "fye.json"
SCHEMA = 2
_MANY_PEOPLE = 50  # from about so many in training on, a new face is more than one of them
_NOT_WRITTEN_BEFORE_2 = ("crop.margin", "crop.faces", "max_gap_frames")


class Crop(Config):
    """How the training clips were cut around their faces.

    rule: the name of the rule, `face_square`; margin: on each side, as a fraction of the longer side of the box around
    the face of all the clip's frames; faces: where the faces of single frames lie in the clips, None where nobody
    measured.
    """

    rule: Literal["face-square-1"] = "face-square-1"
    margin: Annotated[float, Field(ge=0)]
    faces: FacePlacement | None

    def portrait_square(self, face: PixelBox, width: int, height: int) -> Square:
        """The square around a portrait's face (pixels of a width x height picture): the one that a training clip would
        have had. Without `faces`, it is the square of a clip in which the face never moves."""
        box = face if self.faces is None else self.faces.clip_box(face, self.margin)
        return face_square(box, width, height, self.margin, face)


class ModelDescription(Config):
    """What a model says about itself.

    software: what wrote it; checkpoint: where its networks come from; landmark_model: id of the model whose landmarks
    it was trained on, None where that is not known; landmark_variant: how they are drawn; size: pixels of its clips,
    square; fps: of its clips, None where not known; max_gap_frames: gaps in the landmarks up to this long are filled;
    sampling: what it was evaluated with; poses, mouths, people: which head poses and mouths, and how many people, the
    clips show, None where nobody measured; assumed: values that nobody knew when this was written.
    """

    schema_: Annotated[Literal[2], Field(alias="schema")] = 2
    software: str = Field(default_factory=this_software)
    checkpoint: str
    landmark_model: str | None
    landmark_variant: Variant
    size: Annotated[int, Field(ge=8)]
    fps: Annotated[float, Field(gt=0)] | None
    crop: Crop
    max_gap_frames: Annotated[int, Field(ge=0)]
    sampling: SamplingConfig
    poses: TrainedPoses | None = None
    mouths: TrainedMouths | None = None
    people: Annotated[int, Field(ge=1)] | None = None
    assumed: tuple[str, ...] = ()

    @field_validator("size")
    @classmethod
    def _on_the_grid(cls, size: int) -> int:
        if size % 8:
            raise ValueError(f"size {size}; expected a multiple of 8, the latent grid")
        return size

    @property
    def warning(self) -> str | None:
        """What a caller has to be told about values that were assumed, or None."""
        if not self.assumed:
            return None
        known = {"crop.margin": self.crop.margin, "max_gap_frames": self.max_gap_frames}
        values = [f"{name} {known[name]}" if name in known else f"{name} unknown" for name in self.assumed]
        return (
            f"the model's {DESCRIPTION} was written without {', '.join(self.assumed)}; taken are the recipes' values "
            f"({', '.join(values)}), which are wrong for a model that was trained with others. To have them right, run "
            f"the model's retrain again with this version, which writes them, or put them into {DESCRIPTION}"
        )

    def cautions(self, landmark_model: str) -> tuple[str, ...]:
        """What has to be said before this model is used with landmarks of a landmark model, in lines."""
        lines = [] if self.warning is None else [f"WARNING: {self.warning}"]
        if self.people is not None and self.people < _MANY_PEOPLE:
            lines.append(
                "note: the model knows one person: any other face comes out as that one"
                if self.people == 1
                else f"note: the model knows {self.people} people: any other face comes out much like one of them"
            )
        if self.landmark_model not in (None, landmark_model):
            lines.append(
                f"note: the model was trained on landmarks of {self.landmark_model}, and these are of "
                f"{landmark_model}: eyes and mouth sit a little otherwise"
            )
        return tuple(lines)

    def write(self, folder: Path) -> None:
        """Write `fye.json` into a model folder."""
        write_json(folder / DESCRIPTION, self.model_dump(mode="json", by_alias=True))


def read_description(folder: Path) -> ModelDescription | None:
    """What a model folder says about itself; None for one that was assembled by hand and says nothing.

    Raises ValueError for a damaged file, one of a newer version, and one in which values are missing or wrong.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    try:
        values: Any = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"a {type(values).__name__} where keys and values are expected")
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); run the model's retrain again, or copy it anew") from error
    found = values.get("schema", 1)
    if found not in (1, SCHEMA):
        raise ValueError(
            f"{path} is of schema {found!r}, written by {values.get('software', 'an unknown version')}; this is "
            f"{this_software()}, which reads schemas 1 and {SCHEMA}: update it"
        )
    try:
        return ModelDescription.model_validate(_from_schema_1(values) if found == 1 else values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {_said(item)}" for item in error.errors())
        writer = values.get("software", "an earlier version (schema 1)" if found == 1 else "an unknown version")
        raise ValueError(f"{path}, written by {writer}, does not describe a model: {problems}") from error


def need_description(folder: Path) -> ModelDescription:
    """`read_description`, for callers that cannot do without one: ValueError where there is none."""
    description = read_description(folder)
    if description is None:
        needed = [name for name, field in ModelDescription.model_fields.items() if field.is_required()]
        raise ValueError(
            f"{folder} has no {DESCRIPTION}: nobody says what animation has to share with its training "
            f"({', '.join(needed)}). Give the folder that a retrain or an import wrote, or a copy made with "
            f"save_pretrained; for one put together by hand, write it with ModelDescription(...).write(folder)"
        )
    return description


def check_description(folder: Path, **expected: str) -> None:
    """Raise ValueError where a model folder's `fye.json` says otherwise: numbers of a misused model mean nothing.

    A folder without one (assembled by hand), and values that are not known, are taken as they are.
    """
    description = read_description(folder)
    for name, value in expected.items():
        found = None if description is None else getattr(description, name)
        if found is not None and found != value:
            raise ValueError(f"{folder} was trained with {name} {found!r}, and this run has {value!r}")


def _from_schema_1(values: Mapping[str, object]) -> dict[str, object]:
    """Schema 1 knew neither crop nor gaps, and said nothing of who wrote it."""
    assumed = [*_NOT_WRITTEN_BEFORE_2]
    assumed += [name for name in ("landmark_model", "fps") if name not in values]
    return {
        "software": "an earlier version (schema 1)",
        "landmark_model": None,
        "fps": None,
        **values,
        "schema": SCHEMA,
        "crop": {"margin": ClipConfig().margin, "faces": None},
        "max_gap_frames": LandmarkConfig().max_gap_frames,
        "assumed": assumed,
    }


def _said(problem: Any) -> str:
    if problem["type"] == "value_error":  # our own validators say what they got
        return str(problem["ctx"]["error"])
    if problem["type"] == "missing":
        return "is missing"
    return f"{problem['msg']}, got {problem['input']!r}"
