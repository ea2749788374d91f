"""Assets: what is here and where, what is wrong is named, and what may be fetched is fetched and checked."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli import app
from fye_model.assets import ASSETS, FACE_LANDMARKER, Asset
from fye_model.config import Recipe
from fye_model.evaluation.metric import nothing
from fye_model.evaluation.table import METRICS
from fye_model.files import file_digest
from tasks.faces import landmarker
from tasks.jobs.assets import Look, fetch, find_asset, lines, look_for


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FYE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FYE_ASSETS", str(tmp_path / "assets"))


def _put(path: Path, content: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _one(name: str, recipe: Recipe | None = None) -> Look:
    (look,) = look_for([find_asset(name)], recipe=recipe)
    return look


def test_every_missing_metric_has_its_assets_and_every_setting_is_the_recipes() -> None:
    assert {metric for asset in ASSETS for metric in asset.metrics} == {
        m.name for m in METRICS if m.lacks is not nothing
    }
    assert len({asset.name for asset in ASSETS}) == len({asset.place for asset in ASSETS}) == len(ASSETS)
    wanted = {"autoencoder.path", "image_encoder.path", "networks.unet", "networks.motion_modules", "lip_sync.weights"}
    assert {asset.setting for asset in ASSETS} - {None} == wanted
    assert all(asset.sha256 is not None for asset in ASSETS if asset.fetched or asset.module)
    assert all(len(asset.sha256) == 64 for asset in ASSETS if asset.sha256)


def test_the_landmark_model_of_a_run_is_the_declared_one() -> None:
    address, sha256 = landmarker.LANDMARKER_URL, landmarker.LANDMARKER_SHA256
    assert (address, sha256) == (FACE_LANDMARKER.source, FACE_LANDMARKER.sha256)
    assert landmarker.LANDMARKER_ID == "face_landmarker_v2:64184e22"


def test_assets_are_found_in_the_recipe_then_fye_assets_then_the_cache(tmp_path: Path) -> None:
    assert _one("mm_sd_v15_v2").state == "missing"
    cached = _put(tmp_path / "cache" / "AnimateDiff" / "mm_sd_v15_v2.ckpt")
    look = _one("mm_sd_v15_v2")
    assert (look.state, look.path, look.chosen_by) == ("present", cached, "cache")
    given = _put(tmp_path / "assets" / "AnimateDiff" / "mm_sd_v15_v2.ckpt")
    assert _one("mm_sd_v15_v2").path == given
    text = "\n".join(lines([_one("mm_sd_v15_v2")]))
    assert f"not used until a recipe has networks.motion_modules: {given}" in text
    named = _put(tmp_path / "elsewhere" / "motion.ckpt")
    recipe = Recipe.model_validate({"name": "mine", "networks": {"motion_modules": str(named)}})
    look = _one("mm_sd_v15_v2", recipe)
    assert (look.path, look.chosen_by) == (named, "networks.motion_modules")
    assert "not used until" not in "\n".join(lines([look]))


def test_what_is_there_and_wrong_is_named_and_not_passed_over(tmp_path: Path) -> None:
    page = _put(tmp_path / "assets" / "lpips" / "alexnet-owt-7be5be79.pth", b"an error page")
    look = _one("lpips_alexnet")
    assert look.state == "wrong" and f"its sha256 is {file_digest(page)}, expected 7be5be79" in look.problem
    empty = _put(tmp_path / "assets" / "i3d" / "i3d_pretrained_400.pt", b"")
    assert f"{empty} is an empty file" in _one("i3d").problem
    (tmp_path / "assets" / "sd-vae-ft-mse").mkdir()
    assert "is an empty folder" in _one("sd-vae-ft-mse").problem
    recipe = Recipe.model_validate({"name": "mine", "autoencoder": {"path": "/no/such/folder"}})
    assert _one("sd-vae-ft-mse", recipe).problem == (
        "the recipe's autoencoder.path is /no/such/folder, which does not exist"
    )


def test_the_command_lists_every_asset_and_ends_with_1_for_a_wrong_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app(["assets"], result_action="return_value") == 0
    told = capsys.readouterr()
    for asset in ASSETS:
        assert f"\n{asset.name} " in f"\n{told.out}" and asset.source in told.out and asset.licence in told.out
    assert "`fye assets fetch face_landmarker`" in told.out
    _put(tmp_path / "assets" / "face_landmarker.task", b"an error page")
    assert app(["assets"], result_action="return_value") == 1
    told = capsys.readouterr()
    assert "WRONG" in told.out and "fye: not what they should be: face_landmarker" in told.err


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Asset, Path]]:
    """An asset that may be fetched, at an address of this machine, and its file there."""
    file = _put(tmp_path / "served" / "model.bin", bytes(range(256)) * 1000)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(file.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as opened:
        thread = threading.Thread(target=opened.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{opened.server_port}/model.bin"
        yield replace(FACE_LANDMARKER, source=address, sha256=file_digest(file)), file
        opened.shutdown()
        thread.join()


def test_an_asset_is_fetched_once_and_only_as_expected(served: tuple[Asset, Path], tmp_path: Path) -> None:
    asset, file = served
    with pytest.raises(ValueError, match="expected 0000"):
        fetch(replace(asset, sha256="0" * 64))
    found = fetch(asset)
    assert (found.state, found.path, found.chosen_by) == ("present", tmp_path / "cache" / asset.place, "cache")
    file.unlink()
    assert fetch(asset) == found  # what is here is not fetched again
    given = _put(tmp_path / "assets" / asset.place, b"another")
    with pytest.raises(ValueError, match=f"{given} is not face_landmarker"):
        fetch(asset)


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"could not be fetched from http://127.*set FYE_ASSETS to that folder"):
        fetch(replace(FACE_LANDMARKER, source="http://127.0.0.1:9/nothing"))
    assert not (tmp_path / "cache" / FACE_LANDMARKER.place).exists()


@pytest.mark.parametrize("name", [asset.name for asset in ASSETS if not asset.fetched and asset.module is None])
def test_what_may_not_be_downloaded_says_where_to_get_it(name: str) -> None:
    asset = find_asset(name)
    with pytest.raises(ValueError, match="is not downloaded by this software") as caught:
        fetch(asset)
    assert asset.licence in str(caught.value) and asset.source in str(caught.value) and asset.place in str(caught.value)


def test_what_a_package_ships_is_found_in_it_and_otherwise_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = replace(find_asset("dlib_face"), module="shipping")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shipping").mkdir()
    (tmp_path / "shipping" / "__init__.py").write_text("raise ImportError('a package that is only looked into')")
    assert look_for([asset])[0].state == "missing"
    assert "looked for in the installed packages" in "\n".join(lines(look_for([asset])))
    with pytest.raises(ValueError, match=r"comes with the package face-recognition-models 0.3.0: pip install"):
        fetch(asset)
    file = _put(tmp_path / "shipping" / asset.place)
    assert look_for([asset])[0].state == "wrong"
    (look,) = look_for([replace(asset, sha256=file_digest(file))])
    assert (look.state, look.path, look.chosen_by) == ("present", file, "the package of shipping")


def test_an_unknown_asset_is_answered_with_the_names_that_exist() -> None:
    with pytest.raises(ValueError, match=r"no asset is called 'lpips'; there are face_landmarker, .*lpips_alexnet"):
        find_asset("lpips")
