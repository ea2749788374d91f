"""Released weights become a model folder that animates, or networks that say what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from transformers import CLIPVisionConfig, CLIPVisionModel

from fye_model.animation.description import need_description
from fye_model.animation.pipeline import FollowYourEmojiPipeline
from fye_model.networks import build_networks
from tasks.jobs.import_release import import_model
from tests.fye_model.release.test_importing import TINY, as_released

SETTINGS = TINY.model_dump(mode="json", exclude={"image_prompt"})
CLIP_WIDTH = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`release/` with the three files, `vae/` and `image_encoder/` as Stable Diffusion folders have them."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    (folder / "release").mkdir()
    for name, state in as_released(build_networks(TINY, CLIP_WIDTH)).items():
        torch.save(state, folder / "release" / f"{name}.pth")
    AutoencoderKL(
        block_out_channels=(4, 4, 4, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    ).save_pretrained(folder / "vae")
    for name, width in (("image_encoder", CLIP_WIDTH), ("wide", 32)):
        sizes = {"hidden_size": width, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=28, patch_size=14)).save_pretrained(folder / name)
    return folder


@pytest.mark.parametrize("prompt", ["linear", "linear_qformer"])
def test_released_weights_and_the_frozen_parts_are_a_model_that_animates(
    files: Path, tmp_path: Path, prompt: str
) -> None:
    output = tmp_path / "model"
    settings = {**SETTINGS, "image_prompt": prompt}
    for _ in range(2):  # the second time over an earlier import
        said = import_model(files / "release", output, files / "vae", files / "image_encoder", settings)
    assert "unet.pth -> denoiser and image_prompt" in said and "is a model folder" in said
    assert json.loads((output / "import_report.json").read_text())["files"][0]["tensors"] > 100
    assert need_description(output).size == 512
    assert (
        "crop.margin" in need_description(output).assumed and "wrong for a model that was trained with others" in said
    )
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "no scratch folder stays"
    pipe = FollowYourEmojiPipeline.from_pretrained(output)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.image_prompt.config["kind"] == prompt
    driver = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    frames = pipe(driver[0], driver, num_inference_steps=2, output_type="np").frames
    assert frames.shape == driver.shape and np.ptp(frames) > 0.01


def test_networks_alone_say_what_they_lack(files: Path, tmp_path: Path) -> None:
    said = import_model(files / "release", tmp_path / "out", settings=SETTINGS)
    assert "holds the four networks alone" in said and "--autoencoder" in said
    with pytest.raises(ValueError, match="the four networks alone"):
        FollowYourEmojiPipeline.from_pretrained(tmp_path / "out")


def test_what_cannot_become_a_model_is_named_and_leaves_nothing(files: Path, tmp_path: Path) -> None:
    release, vae, clip, output = files / "release", files / "vae", files / "image_encoder", tmp_path / "out"
    for arguments, message in (
        ((release, output, vae, None, SETTINGS), "give both or none"),
        ((release, output, clip, vae, SETTINGS), "expected a AutoencoderKL"),
        (
            (release, output, vae, files / "wide", SETTINGS),
            "image_encoder.hidden_size is 32 and image_prompt.image_dim",
        ),
        ((files, output, vae, clip, SETTINGS), "no referencenet.pth"),
        ((release, output, vae, clip, {}), "does not fit"),
        ((release, output, vae, clip, {"image_promt": "linear"}), "image_promt: unknown key .did you mean 'image_pro"),
        ((release, files, vae, clip, SETTINGS), "is not an earlier import"),
    ):
        with pytest.raises(ValueError, match=message):
            import_model(*arguments)
    assert not list(tmp_path.iterdir())
