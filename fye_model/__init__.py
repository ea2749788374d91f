"""Follow-Your-Emoji: expression-aware landmarks, networks, training, animation and metrics.

The library half of the project. It imports neither Prefect, Ray, MediaPipe nor decord: what trains or animates
on a GPU machine needs torch, diffusers, transformers, numpy, pyarrow and pydantic, and nothing else.

The names below are what a Python user needs. Each is imported when it is first used, so `import fye_model` is quick.
It also has diffusers know the pipeline: `DiffusionPipeline.from_pretrained` loads model folders.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fye_model.animation.known import make_known

if TYPE_CHECKING:
    from fye_model.animation.description import ModelDescription, read_description
    from fye_model.animation.driving import Motion, motion_points
    from fye_model.animation.inputs import DrawnLandmarks
    from fye_model.animation.output import FollowYourEmojiOutput
    from fye_model.animation.performing import Faces, SeenDriver, SeenPortrait
    from fye_model.animation.pipeline import FollowYourEmojiPipeline
    from fye_model.animation.portrait import cut_square, upright_rgb
    from fye_model.animation.transfer import Transfer
    from fye_model.config import Recipe, SamplingConfig, StepCacheConfig
    from fye_model.landmarks.geometry import FaceGeometry
    from fye_model.landmarks.table import LandmarkSequence, read_landmarks
    from fye_model.version import __version__

__all__ = [
    "DrawnLandmarks",
    "FaceGeometry",
    "Faces",
    "FollowYourEmojiOutput",
    "FollowYourEmojiPipeline",
    "LandmarkSequence",
    "ModelDescription",
    "Motion",
    "Recipe",
    "SamplingConfig",
    "SeenDriver",
    "SeenPortrait",
    "StepCacheConfig",
    "Transfer",
    "__version__",
    "cut_square",
    "motion_points",
    "read_description",
    "read_landmarks",
    "upright_rgb",
]

_PLACES = {
    "animation.description": ("ModelDescription", "read_description"),
    "animation.driving": ("Motion", "motion_points"),
    "animation.inputs": ("DrawnLandmarks",),
    "animation.output": ("FollowYourEmojiOutput",),
    "animation.pipeline": ("FollowYourEmojiPipeline",),
    "animation.performing": ("Faces", "SeenDriver", "SeenPortrait"),
    "animation.transfer": ("Transfer",),
    "animation.portrait": ("cut_square", "upright_rgb"),
    "config": ("Recipe", "SamplingConfig", "StepCacheConfig"),
    "landmarks.geometry": ("FaceGeometry",),
    "landmarks.table": ("LandmarkSequence", "read_landmarks"),
    "version": ("__version__",),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _PLACES.items() for name in names}
make_known()


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it exports {', '.join(__all__)}")
    value: object = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
