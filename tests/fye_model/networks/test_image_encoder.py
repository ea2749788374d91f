"""CLIP's tower and preprocessing against transformers' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from fye_model.config import ImageEncoderConfig
from fye_model.networks.image_encoder import STD, load_image_encoder

SMALL = ImageEncoderConfig(hidden_size=16, intermediate_size=32, layers=2, heads=2, image_size=28, patch_size=14)


def picture(width: int, height: int) -> Image.Image:
    """Smooth colours with sharp edges in them."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x * 255 / width, y * 255 / height, ((x // 7 + y // 5) % 2) * 255], -1)
    return Image.fromarray(rgb.astype(np.uint8))


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (90, 61), (20, 20)])
def test_preprocessing_is_transformers(size: tuple[int, int]) -> None:
    image = picture(*size)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    expected = processor(images=image, return_tensors="pt").pixel_values
    got = load_image_encoder(SMALL).preprocess(image)
    assert got.shape == expected.shape == (1, 3, 28, 28)
    levels = (got - expected).abs() * torch.tensor(STD).view(1, 3, 1, 1) * 255
    assert levels.max() <= 1.001  # PIL resizes with fixed-point weights
    assert levels.mean() < 0.05


def test_a_tall_picture_is_cropped_as_transformers_does() -> None:
    """Pillow resizes the two axes of tall pictures in the other order, so sharp edges differ by some levels."""
    image = picture(61, 200)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    expected = processor(images=image, return_tensors="pt").pixel_values
    levels = (load_image_encoder(SMALL).preprocess(image) - expected).abs() * torch.tensor(STD).view(1, 3, 1, 1) * 255
    assert levels.mean() < 1.5


def test_arrays_and_pictures_give_the_same_tokens() -> None:
    encoder, images = load_image_encoder(SMALL), [picture(40, 40), picture(40, 40).rotate(90)]
    tokens = encoder.encode(images)
    assert tokens.shape == (2, 1 + 4, 16)
    assert torch.equal(encoder.encode(np.stack([np.asarray(x) for x in images])), tokens)
    assert torch.equal(encoder.encode(images[1])[0], encoder.encode(images[1:])[0])
    assert (tokens[0] - tokens[1]).abs().max() > 1e-3


def test_a_random_tower_is_set_by_its_seed_alone_and_frozen() -> None:
    torch.manual_seed(5)
    a = load_image_encoder(SMALL)
    draw = torch.rand(1)
    torch.manual_seed(6)
    b, c = load_image_encoder(SMALL), load_image_encoder(SMALL.model_copy(update={"seed": 1}))
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), draw)  # the caller's generator is where it was
    image = picture(30, 30)
    assert torch.equal(a.encode(image), b.encode(image))
    assert not torch.equal(a.encode(image), c.encode(image))
    assert not any(p.requires_grad for p in a.model.parameters())


def test_tokens_are_the_last_hidden_state_without_the_final_norm(tmp_path: Path) -> None:
    """The published folder is of a CLIPVisionModelWithProjection; its tower loads and gives the same states."""
    torch.manual_seed(0)
    model = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            projection_dim=8,
        )
    ).eval()
    model.save_pretrained(tmp_path)
    encoder = load_image_encoder(ImageEncoderConfig(path=tmp_path))
    image = picture(50, 40)
    with torch.no_grad():
        expected = model(encoder.preprocess(image)).last_hidden_state
    torch.testing.assert_close(encoder.encode(image), expected)
    assert encoder.dim == 16


def test_a_saved_tower_loads_the_same(tmp_path: Path) -> None:
    encoder = load_image_encoder(SMALL)
    encoder.save(tmp_path)
    again = load_image_encoder(ImageEncoderConfig(path=tmp_path))
    image = picture(33, 47)
    assert torch.equal(again.encode(image), encoder.encode(image))
    processor = CLIPImageProcessorPil.from_pretrained(tmp_path)
    assert processor.crop_size["height"] == 28


def test_bad_folders_and_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json"):
        load_image_encoder(ImageEncoderConfig(path=tmp_path / "nowhere"))
    load_image_encoder(SMALL).save(tmp_path / "clip")
    weights = tmp_path / "clip" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a readable CLIP vision model"):
        load_image_encoder(ImageEncoderConfig(path=tmp_path / "clip"))
    with pytest.raises(ValueError, match="patch_size"):
        load_image_encoder(SMALL.model_copy(update={"image_size": 30}))
    with pytest.raises(ValueError, match="heads is 3"):
        load_image_encoder(SMALL.model_copy(update={"heads": 3}))
    with pytest.raises(ValueError, match=r"expected \(b, h, w, 3\) uint8"):
        load_image_encoder(SMALL).encode(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"expected \(b, h, w, 3\) uint8"):
        load_image_encoder(SMALL).encode(torch.zeros(1, 4, 4, 3))
