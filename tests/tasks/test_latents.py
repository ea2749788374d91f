"""Latents: what training reads is what the pipeline would compute, for every frame and at candidate references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPImageProcessor, CLIPVisionModel

from fye_model.config import LatentConfig
from fye_model.landmarks.mirroring import mirror_index
from fye_model.landmarks.table import LandmarkSequence, read_landmarks, read_masks, write_landmarks
from fye_model.networks.image_encoder import load_image_encoder
from fye_model.training.autoencoder import build_autoencoder, save_folder
from fye_model.training.latents import candidate_references
from fye_model.training.records import LatentRow
from tasks.engine.items import NOTHING, Quarantine
from tasks.latents import LATENTS, LatentSettings
from tasks.media.read import read_frames
from tasks.media.write import write_video
from tests.debug import DEBUG
from tests.tasks.support import work_on

SIZE, FRAMES = 32, 12


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A clip whose frame 3 has no face, and both encoders."""
    folder = tmp_path_factory.mktemp("clip")
    random = np.random.default_rng(0)
    base = np.kron(random.integers(0, 255, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    write_video(folder / "clip.mp4", [np.roll(base, shift, axis=1) for shift in range(FRAMES)], 25.0)
    valid = np.ones(FRAMES, bool)
    valid[3] = False
    points = np.where(valid[:, None, None], random.random((FRAMES, 478, 3)), np.nan).astype(np.float32)
    none = np.zeros(FRAMES, bool)
    write_landmarks(
        LandmarkSequence(points, None, None, valid, none, np.arange(FRAMES) / 25, 25.0, SIZE, SIZE, "m:0"),
        folder / "landmarks.parquet",
    )
    torch.manual_seed(0)
    vae = build_autoencoder(DEBUG.autoencoder, SIZE)
    vae.register_to_config(scaling_factor=0.5)
    save_folder(vae, folder / "vae")
    load_image_encoder(DEBUG.image_encoder).save(folder / "image_encoder")
    return {
        "video": folder / "clip.mp4",
        "landmarks": folder / "landmarks.parquet",
        "vae/config.json": folder / "vae" / "config.json",
        "image_encoder/config.json": folder / "image_encoder" / "config.json",
    }


def encode(files: dict[str, Path], out: Path, **config: object) -> tuple[LatentRow, dict[str, torch.Tensor]]:
    out.mkdir()
    settings = LatentSettings(latents=LatentConfig.model_validate(config), expression_radius=0.02)
    row = work_on(LATENTS, settings, files, NOTHING, out, name="clip")
    return row, load_file(out / "latents.safetensors")


def test_latents_and_tokens_are_those_of_the_encoders(files: dict[str, Path], tmp_path: Path) -> None:
    row, tensors = encode(files, tmp_path / "out", precision="fp32", references=4)
    frames = read_frames(files["video"])
    assert tensors["latents"].shape == (FRAMES, 4, 4, 4)
    assert tensors["reference_frames"].tolist() == [0, 4, 8, 11]
    vae = AutoencoderKL.from_pretrained(files["vae/config.json"].parent)
    clip = CLIPVisionModel.from_pretrained(files["image_encoder/config.json"].parent)
    processor = CLIPImageProcessor.from_pretrained(files["image_encoder/config.json"].parent)
    with torch.no_grad():
        for frame, row_of_tokens in ((0, 0), (8, 2)):
            portrait = Image.fromarray(frames[frame])
            pixels = torch.from_numpy(frames[frame]).permute(2, 0, 1)[None].float()
            latent = vae.encode(pixels / 127.5 - 1).latent_dist.mean[0] * 0.5
            torch.testing.assert_close(tensors["latents"][frame], latent, rtol=1e-4, atol=1e-5)
            seen = clip(processor(images=portrait, return_tensors="pt").pixel_values).last_hidden_state[0]
            torch.testing.assert_close(tensors["image_tokens"][row_of_tokens], seen, rtol=1e-2, atol=1e-2)
    assert row.references == 4 and row.latent_shape == (4, 4, 4) and row.token_shape == (5, 16)


def test_half_precision_is_close_and_the_file_is_the_same_every_time(files: dict[str, Path], tmp_path: Path) -> None:
    _, whole = encode(files, tmp_path / "whole", precision="fp32")
    row, half = encode(files, tmp_path / "half")
    again, _ = encode(files, tmp_path / "again")
    assert half["latents"].dtype == torch.float16 and row == again
    torch.testing.assert_close(half["latents"].float(), whole["latents"], rtol=1e-3, atol=1e-3)
    name = "latents.safetensors"
    assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_other_crops_are_clips_of_their_own_with_landmarks_and_masks(files: dict[str, Path], tmp_path: Path) -> None:
    _, plain = encode(files, tmp_path / "plain")
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["latents.safetensors"]
    _, whole = encode(files, tmp_path / "out", jitter={"crops": 2, "zoom": 0.5})
    assert torch.equal(whole["latents"], plain["latents"])
    original = read_landmarks(files["landmarks"])
    for name, mirrored in (("jitter-1", True), ("jitter-2", False)):
        folder = tmp_path / "out" / name
        crop, moved = load_file(folder / "latents.safetensors"), read_landmarks(folder / "landmarks.parquet")
        assert crop["latents"].shape == whole["latents"].shape
        assert not torch.allclose(crop["latents"], whole["latents"], atol=1e-2)
        assert (moved.valid == original.valid).all() and moved.model == original.model
        expression, _ = read_masks(folder / "masks.parquet")
        assert expression.shape == (FRAMES, 4, 4) and expression[0].max() > 0 and expression[3].max() == 0
        # a point's move to the right in the clip is one to the left in a mirrored crop
        right = mirror_index()[0] if mirrored else 0
        stretch = np.diff(moved.points[[0, 1], right, 0]) / np.diff(original.points[[0, 1], 0, 0])
        assert (stretch[0] < -1) == mirrored and abs(stretch[0]) >= 1


def test_candidates_are_valid_frames_from_the_first_to_the_last() -> None:
    valid = np.ones(100, bool)
    valid[[0, 50, 99]] = False
    frames = candidate_references(valid, 8)
    assert len(frames) == 8 and frames[0] == 1 and frames[-1] == 98 and valid[frames].all()
    assert candidate_references(np.array([False, True, True]), 8).tolist() == [1, 2]
    assert candidate_references(np.zeros(3, bool), 8).size == 0


def test_a_clip_without_a_face_is_set_aside(files: dict[str, Path], tmp_path: Path) -> None:
    none = np.zeros(FRAMES, bool)
    points = np.full((FRAMES, 478, 3), np.nan, np.float32)
    empty = LandmarkSequence(points, None, None, none, none, np.arange(FRAMES) / 25, 25.0, SIZE, SIZE, "m:0")
    write_landmarks(empty, tmp_path / "landmarks.parquet")
    with pytest.raises(Quarantine, match="no_face: clip"):
        encode({**files, "landmarks": tmp_path / "landmarks.parquet"}, tmp_path / "out")
