"""Loading a model folder: every weight is there and fits, nothing in it is run, and what is wrong is named."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fye_model.animation.pipeline import FollowYourEmojiPipeline
from tests.fye_model.animation.tiny import build_tiny

WEIGHTS = "diffusion_pytorch_model.safetensors"


def _swap(folder: Path, target: str, source: str) -> None:
    (folder / target).write_bytes((folder / source).read_bytes())


def _code(folder: Path, file: str, instead_of: str) -> None:
    """A weight file that would write `executed` when it is unpickled with code."""

    class Run:
        def __reduce__(self) -> Any:
            return Path.touch, (folder / "executed",)

    (folder / instead_of).unlink()
    (folder / file).write_bytes(pickle.dumps({"weight": Run()}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _swap(f, f"vae/{WEIGHTS}", f"denoiser/{WEIGHTS}"), "vae lacks .* weights of a AutoencoderKL"),
        (lambda f: _swap(f, "image_encoder/model.safetensors", f"vae/{WEIGHTS}"), "image_encoder lacks .* weights"),
        (lambda f: os.truncate(f / "vae" / WEIGHTS, 999), "vae is not a readable AutoencoderKL"),
        (lambda f: os.truncate(f / "image_encoder" / "model.safetensors", 999), "image_encoder is not a readable"),
        (lambda f: _code(f / "vae", "diffusion_pytorch_model.bin", WEIGHTS), "vae is not a readable"),
        (lambda f: _code(f / "image_encoder", "pytorch_model.bin", "model.safetensors"), "image_encoder is not"),
        (lambda f: shutil.rmtree(f / "scheduler"), "lacks scheduler"),
        (lambda f: (f / "scheduler" / "scheduler_config.json").write_text("{"), "not a whole model folder"),
        (lambda f: (f / "model_index.json").write_text("{"), "model_index.json is damaged"),
        (lambda f: (f / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}'), "is of a Stable"),
        (lambda f: (f / "model_index.json").unlink(), "the four networks alone"),
    ],
)
def test_a_damaged_component_is_named_in_one_line_and_never_left_random(
    tiny_pipe, tmp_path, damage: Any, message: str
) -> None:
    folder = tmp_path / "model"
    tiny_pipe.save_pretrained(folder)
    damage(folder)
    with pytest.raises(ValueError, match=message) as caught:
        FollowYourEmojiPipeline.from_pretrained(folder)
    assert "\n" not in str(caught.value) and not list(folder.rglob("executed"))


def test_a_library_that_the_index_names_is_not_imported_unless_it_is_known(tiny_pipe, tmp_path) -> None:
    tiny_pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "scheduler": ["os", "system"]}))
    with pytest.raises(ValueError, match="scheduler is of 'os', expected 'diffusers'"):
        FollowYourEmojiPipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"vae": None}, "vae is None, expected a library and a class, of diffusers"),
        ({"vae": "diffusers"}, "vae is diffusers, expected a library and a class"),
        ({"vae": ["diffusers", 3]}, r"vae is \['diffusers', 3\], expected"),
        ({"vae": ["diffusers", "UNet2DModel"]}, "vae is a 'UNet2DModel', expected AutoencoderKL"),
        ({"scheduler": ["diffusers", "DiffusionPipeline"]}, "scheduler is a 'DiffusionPipeline', expected a scheduler"),
        ({"image_encoder": ["transformers", "pipeline"]}, "image_encoder is a 'pipeline', expected CLIPVisionModel"),
        ({"denoiser": ["antigravity", "Denoiser"]}, "denoiser is of 'antigravity', expected 'fye_model.animation"),
        ({"denoiser": ["fye_model.animation.components", "ModelMixin"]}, "denoiser is a 'ModelMixin', expected"),
    ],
)
def test_what_the_index_says_of_a_component_is_held_to_what_it_can_be(
    tiny_model: Path, tmp_path: Path, entry: dict[str, Any], message: str
) -> None:
    index = json.loads((tiny_model / "model_index.json").read_text())
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "model_index.json").write_text(json.dumps({**index, **entry}))
    with pytest.raises(ValueError, match=message):
        FollowYourEmojiPipeline.from_pretrained(tmp_path / "model")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("said", ["[]", "3", "null", '"x"', "{", "\ufffe", "[" * 100_000, "9" * 5000])
def test_a_description_that_is_none_is_named(tiny_model: Path, tmp_path: Path, said: str) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    for name in ("fye.json", "model_index.json"):
        kept = (tmp_path / "model" / name).read_bytes() if (tmp_path / "model" / name).exists() else None
        (tmp_path / "model" / name).write_text(said)
        with pytest.raises(ValueError, match=rf"{name} is damaged") as caught:
            FollowYourEmojiPipeline.from_pretrained(tmp_path / "model")
        assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)
        (tmp_path / "model" / name).unlink() if kept is None else (tmp_path / "model" / name).write_bytes(kept)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's folder, which is not changed."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    build_tiny().save_pretrained(folder)
    return folder


def test_a_variant_is_saved_and_loaded_under_its_name(tiny_pipe, portrait, driver, tmp_path) -> None:
    tiny_pipe.save_pretrained(tmp_path, variant="small")
    again = FollowYourEmojiPipeline.from_pretrained(tmp_path, variant="small")
    again.set_progress_bar_config(disable=True)

    def frames(pipe: FollowYourEmojiPipeline) -> np.ndarray:
        seed = torch.Generator().manual_seed(0)
        return pipe(portrait, driver(3), num_inference_steps=2, output_type="np", generator=seed).frames

    np.testing.assert_array_equal(frames(again), frames(tiny_pipe))


def test_weights_can_be_read_by_others(tiny_pipe, tmp_path) -> None:
    before = os.umask(0o022)
    try:
        tiny_pipe.save_pretrained(tmp_path)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o644}
