"""Loading a model folder: every weight is there and fits, nothing in it is run, and what is wrong is named."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fye_model.animation.pipeline import FollowYourEmojiPipeline

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
