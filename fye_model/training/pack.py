"""A data set packed for a machine that trains and has nothing but this library: no video decoder, no landmark model.

A pack is a folder: `pack.json` (this record), per clip `clips/<clip>/` with frames.parquet, landmarks.parquet and
masks.parquet, and per reenactment that is to be scored `reenactments/<name>/` with what it takes: reference.parquet and
drawn.parquet. `away.py` trains on it; the machine that made it scores what comes back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from fye_model.config import Config, EvaluationConfig, Recipe, SamplingConfig
from fye_model.files import write_json
from fye_model.landmarks.mouths import TrainedMouths
from fye_model.landmarks.placement import FacePlacement
from fye_model.landmarks.poses import TrainedPoses

PACK = "pack.json"
FRAMES, LANDMARKS, MASKS = "frames.parquet", "landmarks.parquet", "masks.parquet"
REFERENCE, DRAWN = "reference.parquet", "drawn.parquet"
GEOMETRY = "face_landmarker.task"
MEAN_MESH = "mean_mesh"
REENACTMENTS, REENACTED = "reenactments", "reenacted"
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
_ABOUT = "about.json"


class PackedClip(Config):
    """One clip, as in a training index."""

    clip: FileName
    name: str
    subject: str
    frames: int
    train: tuple[int, int]
    val: tuple[int, int]


class Pack(Config):
    """What a pack holds.

    content: digest of the files that it was made of; faces, poses, mouths: where faces lie in them, how heads are
    turned and mouths shaped, for the model folder to say; reenactments: names of those that are to be made.
    """

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    content: str
    recipe: Recipe
    landmark_model: str
    geometry: Literal["face_landmarker.task", "mean_mesh"]
    size: int
    factor: int
    fps: float
    faces: FacePlacement | None
    poses: TrainedPoses | None
    mouths: TrainedMouths | None = None
    clips: tuple[PackedClip, ...]
    reenactments: tuple[FileName, ...]

    def write(self, folder: Path) -> None:
        """Write `pack.json`, which says that all the rest is there: last."""
        write_json(folder / PACK, self.model_dump(mode="json", by_alias=True))


def read_pack(folder: Path) -> Pack:
    """The record of a pack. Raises ValueError that names the file, the key and what is wrong."""
    path = folder / PACK
    try:
        return Pack.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); give the folder that `fye pack` wrote") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ValueError(f"{path}: {problems}; write the pack with the version that trains on it") from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); write the pack again") from error


class Reenacted(Config):
    """What the pictures in a folder of reenactments were made by: the model folder's digest, and under which terms."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    model: str
    sampling: SamplingConfig
    evaluation: EvaluationConfig

    def write(self, folder: Path) -> None:
        """Write it into the folder of reenactments, last."""
        write_json(folder / _ABOUT, self.model_dump(mode="json", by_alias=True))


def check_reenacted(folder: Path, model: str, sampling: SamplingConfig, evaluation: EvaluationConfig) -> None:
    """Raise ValueError unless the reenactments in `folder` are of this model (its folder's digest) and these terms."""
    path = folder / _ABOUT
    try:
        found = Reenacted.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not readable ({error}); let the training machine reenact again") from error
    wrong = [
        name
        for name, value in (("model", model), ("sampling", sampling), ("evaluation", evaluation))
        if getattr(found, name) != value
    ]
    if wrong:
        raise ValueError(
            f"the reenactments in {folder} were made with another {' and another '.join(wrong)} than given here; give "
            "the recipe that was packed and the model of the same output, or let the training machine reenact again"
        )
