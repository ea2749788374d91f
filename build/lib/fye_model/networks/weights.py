"""Reading and checking weight files: strict about names and shapes, and never running code from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fye_model.networks.base import Network

WEIGHTS = "diffusion_pytorch_model.safetensors"
SHOWN = 8  # names listed in a message before "… and n more"

Model = TypeVar("Model", bound=Network)


@dataclass(frozen=True)
class LoadReport:
    """What was loaded into what: counts, and each key of the file that was left out, with the reason."""

    source: str
    target: str
    tensors: int
    parameters: int
    dropped: Mapping[str, str]

    def __str__(self) -> str:
        line = f"{self.source} -> {self.target}: {self.tensors} tensors, {self.parameters:,} parameters"
        return line + (f"; {len(self.dropped)} left out" if self.dropped else "")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a `.safetensors` file or a torch file holding a dict of tensors (or one under `state_dict`).

    Torch files are unpickled with `weights_only=True`: a file that carries code is refused, and the code never runs.
    ValueError when the file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise ValueError(f"weight file {path} does not exist; give the path of a .safetensors, .pth or .ckpt file")
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}); fetch it again") from error
    except Exception as error:  # torch.load raises many types for damaged files
        raise ValueError(
            f"{path} is damaged, or holds more than tensors ({first_line(error)}). It is read with weights_only=True, "
            "so code inside it is refused; fetch the file again, or save its tensors as .safetensors"
        ) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items()):
        raise ValueError(f"{path} does not hold a dict of tensors; expected one tensor per parameter name")
    return {key.removeprefix("module."): value for key, value in found.items()}


def check_names(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Raise a ValueError that lists missing and unexpected names and wrong shapes of `found`, unless there are none."""
    problems = []
    if missing := sorted(expected.keys() - found.keys()):
        problems.append(f"{len(missing)} missing: {_listed(missing)}")
    if unexpected := sorted(found.keys() - expected.keys()):
        problems.append(f"{len(unexpected)} unexpected: {_listed(unexpected)}")
    wrong = [
        f"{key} is {tuple(found[key].shape)}, expected {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & found.keys())
        if found[key].shape != expected[key].shape
    ]
    if wrong:
        problems.append(f"{len(wrong)} of another shape: {_listed(wrong)}")
    if problems:
        raise ValueError(f"{where} does not fit: " + "; ".join(problems) + ". Is it of another model or configuration?")


def check_loaded(info: Mapping[str, Any], where: Path, kind: str) -> None:
    """Raise a ValueError where diffusers or transformers left weights random (they only warn). info: their report."""
    if random := sorted({*info["missing_keys"], *(str(item[0]) for item in info.get("mismatched_keys", ()))}):
        raise ValueError(
            f"{where} lacks {len(random)} weights of a {kind}, or has them in another shape: {_listed(random)}. "
            "Is it of another model or configuration?"
        )


def first_line(error: Exception) -> str:
    """What an error says first, for messages of one line: its first sentence, without advice of other libraries."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    first = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return first.partition(". ")[0].rstrip(".")


def assign(model: torch.nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Copy `state` into `model`, whose names and shapes it must match exactly; dtypes stay the model's."""
    check_names(state, model.state_dict(), where)
    model.load_state_dict(state, strict=True)


def read_config(folder: Path, expected_class: str) -> dict[str, object]:
    """Read a diffusers `config.json` and check that it is of `expected_class`."""
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json; expected the folder of a saved {expected_class}")
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); was the folder written completely?") from error
    found = config.get("_class_name") if isinstance(config, dict) else None
    if found != expected_class:
        raise ValueError(f"{path} is of a {found}, expected a {expected_class}; give the folder of the right network")
    return config


def load_model(model_class: type[Model], folder: Path, variant: str | None = None) -> Model:
    """Load a saved network, strictly: every name and shape must match (`from_pretrained` only warns).

    variant: of the weight file, as diffusers names it (`fp16`).
    """
    config = read_config(folder, model_class.__name__)
    with torch.device("meta"):
        model = cast(Model, model_class.from_config(config))
    path = folder / (WEIGHTS if variant is None else WEIGHTS.replace(".safe", f".{variant}.safe"))
    state = read_weights(path)
    check_names(state, model.state_dict(), str(path))
    # Copies: tensors mapped from a file are not aligned as fresh ones are, and CPU kernels round differently on them.
    model.load_state_dict({key: value.clone() for key, value in state.items()}, strict=True, assign=True)
    return model.eval()


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" … and {more} more" if more > 0 else "")
