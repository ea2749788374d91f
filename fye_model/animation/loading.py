"""What loading a pipeline takes beyond diffusers: names on the hub, networks without a gap, and no chatter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from safetensors import safe_open
from transformers.utils import logging as transformers_logging

from fye_model.animation.card import CARD
from fye_model.animation.compatibility import INDEX
from fye_model.animation.description import DESCRIPTION
from fye_model.networks.autoencoder import load_autoencoder
from fye_model.networks.bundle import COMPONENTS
from fye_model.networks.image_encoder import load_vision_tower
from fye_model.networks.weights import check_loaded, first_line, load_model

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")
_FETCHED = (INDEX, DESCRIPTION, CARD, "*/*.json", "*/*.safetensors")  # no code, and nothing that could carry any


def local_folder(place: str | Path, options: dict[str, Any]) -> Path:
    """The folder of a model; one that is not there and is named as models on the hub are (`org/name`) is fetched.

    Takes what is of the hub alone out of `options`: `revision`, `token`, `cache_dir` … Raises ValueError where the hub
    cannot be reached or has no such model.
    """
    how = {name: options.pop(name) for name in _HUB_OPTIONS if name in options}
    if not isinstance(place, str) or Path(place).exists() or not _HUB_NAME.fullmatch(place):
        return Path(place)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(place, allow_patterns=list(_FETCHED), **how))
    except (OSError, ValueError) as error:  # no network, no such model, not for everybody: each says so itself
        raise ValueError(
            f"{place}: there is no such folder, and the hub did not give a model of that name "
            f"({first_line(error)}). Give a model folder, such as WORK/model after a retrain, or the name of a model "
            "that this machine can fetch"
        ) from error


def add_networks(root: Path, options: dict[str, Any]) -> None:
    """Load the networks of a model folder that are not among `options`, complete, and put them there: diffusers would
    leave missing weights random. Takes out `dtype` (one, or by the network's name). Raises ValueError."""
    old_name = options.pop("torch_dtype", None)
    dtype, variant = options.pop("dtype", old_name), options.get("variant")
    for name in (*COMPONENTS, "vae", "image_encoder"):
        if name in options:
            continue
        network: Any
        if name == "vae":
            network = load_autoencoder(root / name, variant=variant)
        elif name == "image_encoder":
            network = load_vision_tower(root / name, variant=variant)
        else:
            network = load_model(COMPONENTS[name], root / name, variant)
        wanted = dtype.get(name, dtype.get("default")) if isinstance(dtype, dict) else dtype
        options[name] = network if wanted is None or network.dtype == wanted else network.to(wanted)
    options.setdefault("low_cpu_mem_usage", False)  # nothing large is left for diffusers to load


def check_complete(components: dict[str, Any], root: Path) -> None:
    """Raise ValueError where diffusers itself loaded a network from this folder and left weights of it random."""
    for name, module in components.items():
        if not isinstance(module, torch.nn.Module) or _origin(module) != root / name:
            continue
        stored: set[str] = set()
        for path in (root / name).glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                stored.update(file.keys())
        # transformers leaves out the beginnings of some names
        missing = [key for key in module.state_dict() if not any(f".{found}".endswith(f".{key}") for found in stored)]
        check_loaded({"missing_keys": missing}, root / name, type(module).__name__)


def _origin(module: torch.nn.Module) -> Path:
    """The folder that diffusers or transformers say they loaded it from; another one where they did not."""
    config: Any = getattr(module, "config", {})
    config = config if isinstance(config, dict) else vars(config)
    return Path(config.get("_name_or_path") or "")


@contextmanager
def silent_bars() -> Iterator[None]:
    """No progress bars of diffusers and transformers meanwhile: theirs are done as soon as they are drawn."""
    libraries = [each for each in (diffusers_logging, transformers_logging) if each.is_progress_bar_enabled()]
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in libraries:
            library.enable_progress_bar()
