"""A model folder that an earlier version wrote still loads, weight by weight, and says what that version left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from fye_model.animation.description import need_description
from fye_model.animation.pipeline import FollowYourEmojiPipeline
from tests.fye_model.animation.tiny import SIZE

# Of a tiny model, as the last version with `fye.json` of schema 1 wrote it: its index and description, and of each
# network its settings and the names and shapes of its weights
WRITTEN = Path(__file__).with_name("schema_1.json")
NOT_OURS = ("vae", "image_encoder", "feature_extractor", "scheduler")


def test_a_model_of_schema_1_loads_whole_and_animates(tiny_pipe, portrait, driver, tmp_path: Path) -> None:
    written = json.loads(WRITTEN.read_text())
    tiny_pipe.save_pretrained(tmp_path / "now")
    folder = tmp_path / "then"
    for name in NOT_OURS:  # written by diffusers and transformers, then and now
        shutil.copytree(tmp_path / "now" / name, folder / name)
    for name in ("model_index.json", "fye.json"):
        (folder / name).write_text(json.dumps(written[name], indent=1, sort_keys=True) + "\n")
    weights: dict[str, dict[str, torch.Tensor]] = {}
    seed = torch.Generator().manual_seed(0)
    for name, network in written["networks"].items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(network["config"]))
        weights[name] = {key: 0.1 * torch.randn(shape, generator=seed) for key, shape in network["weights"].items()}
        save_file(weights[name], folder / name / "diffusion_pytorch_model.safetensors", {"format": "pt"})

    pipe = FollowYourEmojiPipeline.from_pretrained(folder)
    for name, expected in weights.items():
        found = getattr(pipe, name).state_dict()
        assert found.keys() >= expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items()), name
    description = need_description(folder)
    assert pipe.description == description
    assert description.software == "an earlier version (schema 1)" and description.size == SIZE
    assert "crop.margin" in str(description.warning)
    pipe.set_progress_bar_config(disable=True)
    frames = pipe(portrait, driver(2), num_inference_steps=1, output_type="np").frames
    assert frames.shape[-3:] == (SIZE, SIZE, 3) and np.isfinite(frames).all()
