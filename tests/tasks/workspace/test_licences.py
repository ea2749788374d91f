"""A run tells the terms of what it was made of, and of nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fye_model.assets import ASSETS, FACE_LANDMARKER
from fye_model.config import Recipe
from fye_model.recipes import DEBUG
from tasks.faces.landmarker import LandmarkerAsset
from tasks.workspace.licences import licences
from tasks.workspace.sources import Source

LANDMARKER = LandmarkerAsset(Path("model"), "face_landmarker_v2:0", "0", has_matrix=True, source="here")


def _source(name: str, licence: str | None, problem: tuple[str, str] | None = None) -> Source:
    return Source(
        path=name, name=name, subject="anna", sha256=name, size=1, problem=problem, card="studio", licence=licence
    )


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FYE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FYE_ASSETS", str(tmp_path / "assets"))


def test_only_what_was_used_is_named(tmp_path: Path) -> None:
    debug = Recipe.model_validate({"name": "debug", **DEBUG})
    named = {each.what: each.licence for each in licences(debug, LANDMARKER, [])}
    assert named["this software"] == "Apache-2.0" and named["face_landmarker"] == FACE_LANDMARKER.licence
    assert not named.keys() & {"attention_mesh", "sd-vae-ft-mse", "unet", "lpips_alexnet"}
    weights = tmp_path / "assets" / next(asset.place for asset in ASSETS if asset.name == "lpips_alexnet")
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    other = debug.model_copy(update={"autoencoder": debug.autoencoder.model_copy(update={"path": Path("vae")})})
    named = {each.what: each.licence for each in licences(other, replace(LANDMARKER, has_matrix=False), [])}
    assert (
        named["sd-vae-ft-mse"] == "MIT"
        and {"attention_mesh", "lpips_alexnet"} <= named.keys()
        and "face_landmarker" not in named
    )


def test_footage_is_counted_by_its_licence_and_unknown_is_told() -> None:
    sources = [_source("a", "CC BY 4.0"), _source("b", "CC BY 4.0"), _source("c", None), _source("d", None, ("x", "y"))]
    told = [(each.what, each.licence) for each in licences(Recipe(name="paper"), LANDMARKER, sources)][-2:]
    assert told == [("2 videos", "CC BY 4.0"), ("1 video", "not known: no card says it; ask whoever gave them to you")]
