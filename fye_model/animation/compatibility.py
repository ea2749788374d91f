"""Whether a folder holds a pipeline, and whether the components of a pipeline are of one model."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path
from typing import Any

from fye_model.files import parse_json

INDEX = "model_index.json"
FOREIGN = {  # components that are not of ours: the library that diffusers takes them from, and their classes
    "vae": ("diffusers", "AutoencoderKL"),
    "image_encoder": ("transformers", "CLIPVisionModel"),
    "feature_extractor": ("transformers", r"CLIPImageProcessor\w*"),
    "scheduler": ("diffusers", r"\w+Scheduler"),
}
OUR_MODULE = "fye_model.animation.components"
OURS = {
    "appearance_net": "AppearanceNet",
    "denoiser": "Denoiser",
    "landmark_encoder": "LandmarkEncoder",
    "image_prompt": "ImagePrompt",
}


def check_folder(root: Path, given: Container[str] = ()) -> None:
    """Raise `ValueError` where `root` is no model folder, or lacks a component that is not `given`."""
    index = root / INDEX
    if not index.is_file():
        hint = "expected model_index.json and one folder per component"
        if not root.is_dir():
            hint = "there is no such folder"
        elif all((root / name).is_dir() for name in OURS):
            hint = "it holds the four networks alone (a checkpoint, or an import without autoencoder and image encoder)"
        raise ValueError(f"{root} is not a model folder: {hint}")
    try:
        listed = parse_json(index.read_text(encoding="utf-8"))
        kind = listed["_class_name"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{index} is damaged ({error}); was the folder written completely?") from error
    if kind != "FollowYourEmojiPipeline":
        raise ValueError(f"{index} is of a {kind}, expected a FollowYourEmojiPipeline; give another model folder")
    wanted = [name for name in (*OURS, *FOREIGN) if name not in given]
    if missing := [name for name in wanted if name not in listed or not (root / name).is_dir()]:
        raise ValueError(f"{root} lacks {', '.join(missing)}: expected one folder per component; was it written fully?")
    for name in wanted:
        _check_kind(index, name, listed[name])


def _check_kind(index: Path, name: str, said: object) -> None:
    """diffusers imports the library that is named here and looks for the class: both must be what we know."""
    library, kind = FOREIGN[name] if name in FOREIGN else (OUR_MODULE, OURS[name])
    if not (isinstance(said, list) and len(said) == 2 and all(isinstance(word, str) for word in said)):
        raise ValueError(f"{index}: {name} is {str(said)[:80]}, expected a library and a class, of {library}")
    if said[0] != library:
        raise ValueError(f"{index}: {name} is of {said[0][:80]!r}, expected {library!r}")
    if not re.fullmatch(kind, said[1]):
        expected = {"feature_extractor": "a CLIPImageProcessor", "scheduler": "a scheduler"}.get(name, kind)
        raise ValueError(f"{index}: {name} is a {said[1][:80]!r}, expected {expected}")


def check_components(pipe: Any, vae_factor: int) -> None:
    """Raise `ValueError` when two components' configurations do not go together, naming both settings."""
    vae, denoiser, appearance = pipe.vae.config, pipe.denoiser.config, pipe.appearance_net.config
    prompt, landmark = pipe.image_prompt.config, pipe.landmark_encoder.config
    pairs = [
        ("vae.latent_channels", vae["latent_channels"], "denoiser.in_channels", denoiser["in_channels"]),
        (
            "image_encoder.hidden_size",
            pipe.image_encoder.config.hidden_size,
            "image_prompt.image_dim",
            prompt["image_dim"],
        ),
        (
            "landmark_encoder.out_channels",
            landmark["out_channels"],
            "denoiser.block_out_channels[0]",
            denoiser["block_out_channels"][0],
        ),
        ("landmark_encoder's factor", pipe.landmark_encoder.factor, "vae's factor", vae_factor),
        *(
            (f"appearance_net.{key}", appearance[key], f"denoiser.{key}", denoiser[key])
            for key in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim")
        ),
        (
            "image_prompt.cross_attention_dim",
            prompt["cross_attention_dim"],
            "denoiser.cross_attention_dim",
            denoiser["cross_attention_dim"],
        ),
    ]
    wrong = [f"{a} is {x} and {b} is {y}" for a, x, b, y in pairs if _plain(x) != _plain(y)]
    if wrong:
        raise ValueError(f"these components are not of one model: {'; '.join(wrong)}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
