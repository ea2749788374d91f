"""Named recipes, users' YAML files and `--set a.b=c`, resolved into one frozen `Recipe`.

A named recipe is a set of overrides on the configuration classes' defaults (`fye_model/recipes.py`); `paper` has none.
A YAML file may start from a named recipe or another file with `extends:`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from fye_model.config import Recipe
from fye_model.recipes import NAMED
from tasks.workspace.yaml_text import parse_yaml, read_yaml

MOST_FILES = 20  # that extend one another
_EXPECTED = f"expected one of {sorted(NAMED)} or a .yaml file"


def load_recipe(name_or_file: str = "paper", overrides: Iterable[str] = ()) -> Recipe:
    """Resolve a named recipe or YAML file, then `key.path=value` overrides (values are YAML).

    Raises ValueError that names the file, the key, what was expected and the nearest valid key.
    """
    values = merge_settings(_given(Recipe()), _read(name_or_file, seen=()))
    values = merge_settings(values, parse_overrides(overrides))
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ValueError(_explain(error, name_or_file)) from error


def parse_overrides(overrides: Iterable[str]) -> dict[str, object]:
    """`key.path=value` settings (values are YAML) as nested dicts; ValueError for one that is written otherwise."""
    values: dict[str, object] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"--set {override!r}: expected KEY.PATH=VALUE, for example train.stage1.steps=200")
        try:
            value = parse_yaml(text)
        except ValueError as error:
            raise ValueError(f"--set {_short(override)}: the value is {error}") from error
        nested: Any = value
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        values = merge_settings(values, nested)
    return values


def check_weights(recipe: Recipe) -> None:
    """Raise ValueError with every weight that training needs and the recipe does not name, or names wrongly."""
    wanted = {
        "autoencoder.path": recipe.autoencoder.path,
        "image_encoder.path": recipe.image_encoder.path,
        "networks.unet": recipe.networks.unet,
        "networks.motion_modules": recipe.networks.motion_modules,
    }
    problems = [f"{key}: {path} does not exist" for key, path in wanted.items() if path and not path.exists()]
    if recipe.autoencoder.path is None and not recipe.autoencoder.fit_steps:
        problems.append(
            "autoencoder.path: not set, and autoencoder.fit_steps is 0; give the local folder of an AutoencoderKL, "
            "such as sd-vae-ft-mse, or let one be fitted on the clips"
        )
    if problems:
        raise ValueError(f"recipe {recipe.name}: " + "; ".join(problems))


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, which `load_recipe` reads back to the same."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(name_or_file: str, seen: tuple[str, ...]) -> dict[str, object]:
    if name_or_file in NAMED:
        return {"name": name_or_file, **NAMED[name_or_file]}
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"no recipe named {name_or_file!r}: {_EXPECTED}")
    if str(path.resolve()) in seen:
        raise ValueError(f"{path}: `extends` goes round in a circle: {' -> '.join([*seen, str(path)])}")
    if len(seen) == MOST_FILES:
        raise ValueError(f"{path}: `extends` goes through more than {MOST_FILES} files; write them as one")
    values = read_yaml(path) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected keys and values, found a {type(values).__name__}")
    base = values.pop("extends", "paper")
    if not isinstance(base, str):
        raise ValueError(f"{path}: extends {_short(base)}; {_EXPECTED} beside this one")
    if base not in NAMED:
        beside = (path.parent / base).resolve()
        if not beside.is_file():
            raise ValueError(f"{path}: extends {_short(base)}, which does not exist; {_EXPECTED} beside this one")
        base = str(beside)
    return merge_settings(_read(base, (*seen, str(path.resolve()))), {"name": path.stem, **values})


def _given(model: BaseModel) -> dict[str, object]:
    """What the defaults of a class give to its parts, where a part's own class has another default or none."""
    values: dict[str, object] = {}
    for name, value in model:
        if isinstance(value, BaseModel):
            values |= {name: below} if (below := _given(value)) else {}
        elif name in model.model_fields_set:
            values[name] = value
    return values


def _short(value: object) -> str:
    """A value as people wrote it, as far as a line holds."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text):,} characters)"


def merge_settings(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """`base` with the settings of `over` on top, level by level."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = merge_settings(below, value)
        else:
            merged[key] = value
    return merged


def _explain(error: ValidationError, source: str) -> str:
    problems = "; ".join(explain_problems(error, Recipe))
    return f"recipe {source}: {problems}. `fye config show` prints every key with its value."


def explain_problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """What is wrong with settings of a configuration class, each with its key and the nearest or all valid ones."""
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])[:200]
        if problem["type"] == "extra_forbidden":
            keys = _keys_at(model, problem["loc"][:-1])
            near = get_close_matches(str(problem["loc"][-1]), keys, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else f"; valid keys: {', '.join(keys)}"
            lines.append(f"{path}: unknown key{hint}")
        elif problem["type"] == "model_type":
            below = ", ".join(_keys_at(model, problem["loc"]))
            lines.append(f"{path}: expected settings below it ({below}), got {_short(problem['input'])}")
        elif problem["type"] == "value_error":  # our own validators say what they got
            lines.append(f"{path}: {problem['ctx']['error']}".removeprefix(": "))
        else:
            lines.append(f"{path or 'recipe'}: {problem['msg']}, got {_short(problem['input'])}")
    return lines


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return sorted(model.model_fields)
