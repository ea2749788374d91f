"""Given encoders are taken over as what they are, wherever they lie: what depends on them depends on nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from fye_model.config import AutoencoderConfig
from fye_model.training.autoencoder import build_autoencoder, save_folder
from fye_model.training.encoders import make_encoders
from tests.debug import DEBUG


def taken_over(vae: Path, image_encoder: Path | None, out: Path) -> dict[str, bytes]:
    given = DEBUG.autoencoder.model_copy(update={"path": vae})
    seen = DEBUG.image_encoder.model_copy(update={"path": image_encoder})
    assert make_encoders(out, given, seen, [], "cpu", print) is None
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_encoders_that_went_from_folder_to_folder_are_the_same_files(tmp_path: Path) -> None:
    """As they do where each week's model goes on from the last one's."""
    save_folder(build_autoencoder(DEBUG.autoencoder, 64), tmp_path / "fitted")
    first = taken_over(tmp_path / "fitted", None, tmp_path / "first")
    second = taken_over(tmp_path / "first" / "vae", tmp_path / "first" / "image_encoder", tmp_path / "second")
    assert first == second
    fitted = {f"vae/{path.name}": path.read_bytes() for path in (tmp_path / "fitted").iterdir()}
    assert len(fitted) == 2 and fitted.items() <= first.items()


def test_an_autoencoder_of_another_factor_is_refused_with_both_numbers(tmp_path: Path) -> None:
    save_folder(build_autoencoder(DEBUG.autoencoder, 64), tmp_path / "fitted")
    other = AutoencoderConfig(path=tmp_path / "fitted", block_out_channels=(8, 8, 16), norm_num_groups=4)
    with pytest.raises(ValueError, match=r"has 8 pixels per latent cell, the recipe's .* say 4"):
        make_encoders(tmp_path / "out", other, DEBUG.image_encoder, [], "cpu", print)
