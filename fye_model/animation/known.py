"""diffusers finds this project's pipeline by its name: `DiffusionPipeline.from_pretrained(folder)`.

It looks for the class that `model_index.json` names among its own attributes. One is added as soon as `fye_model` is
imported, before diffusers or after it, and imports the pipeline when it is asked for: both take seconds.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

NAME = "FollowYourEmojiPipeline"
_PIPELINES = "diffusers.pipelines"  # imported when the first pipeline is asked for: diffusers itself is there by then


def make_known() -> None:
    """Have diffusers know the pipeline now, or else as soon as somebody asks it for any pipeline."""
    module = sys.modules.get("diffusers")
    if module is not None:
        _add(module)
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


class _Watch:
    """Sees the first pipeline of diffusers being imported. It finds nothing itself: the import goes on without it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == _PIPELINES:
            _add(sys.modules["diffusers"])


def _add(module: ModuleType) -> None:
    """Give a module the attribute, through a class of its own: a module has no other place for what is found late."""
    kind = type(module)
    if NAME not in vars(kind):
        module.__class__ = type(kind.__name__, (kind,), {NAME: property(_pipeline)})


def _pipeline(module: ModuleType) -> Any:
    from fye_model.animation.pipeline import FollowYourEmojiPipeline

    return FollowYourEmojiPipeline
