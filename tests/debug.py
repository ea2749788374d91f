"""The `debug` recipe, whose parts are the tiny networks and settings of tests everywhere."""

from __future__ import annotations

from fye_model.config import Recipe
from fye_model.recipes import DEBUG as _OVERRIDES

DEBUG = Recipe.model_validate({"name": "debug", **_OVERRIDES})
