"""Weights of metrics are found where assets lie, checked before anything is computed, and told where they lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from fye_model.evaluation import weights
from fye_model.evaluation.table import METRICS
from fye_model.files import file_digest
from tests.fye_model.evaluation.weighed import give


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FYE_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("FYE_CACHE", str(tmp_path / "cache"))


def _put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_every_metric_by_weights_says_which_file_it_needs_and_how_to_get_it() -> None:
    reasons = {metric.name: metric.reason for metric in METRICS if metric.reads == "networks"}
    assert set(reasons) == {"lpips", "lpips_vgg", "tlp", "fvd", "arcface", "arcface_r100", "hyperiqa"}
    assert "lpips/alexnet-owt-7be5be79.pth" in reasons["lpips"] and "fye assets fetch lpips_alexnet`" in reasons["tlp"]
    assert "buffalo_l/w600k_r50.onnx" in reasons["arcface"] and "non-commercial" in reasons["arcface"]
    assert all(reason.startswith("needs the weights ") for reason in reasons.values())


def test_weights_that_are_here_are_part_of_keys_and_other_bytes_make_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert weights.weights_here() == ()
    file = _put(tmp_path / "some.onnx", b"weights")
    give(monkeypatch, tmp_path / "assets", {"arcface": file})
    assert weights.weights_here() == (f"arcface {file_digest(file)[:16]}",)
    assert weights.weight_file("arcface").read_bytes() == b"weights"
    assert weights.lacking("arcface") is None and weights.lacking("arcface", "i3d") == weights.lacking("i3d")
    _put(tmp_path / "assets" / "cache" / "i3d" / "i3d_pretrained_400.pt", b"of the cache")
    assert [line.split()[0] for line in weights.weights_here()] == ["i3d", "arcface"]


def test_all_that_are_not_what_they_should_be_are_named_at_once(tmp_path: Path) -> None:
    page = _put(tmp_path / "assets" / "lpips" / "alex.pth", b"an error page")
    other = _put(tmp_path / "cache" / "hyperiqa" / "koniq_pretrained.pkl", b"another")
    with pytest.raises(ValueError, match="not what they should be") as caught:
        weights.weights_here()
    for file in (page, other):
        assert f"{file} is not " in str(caught.value) and file_digest(file) in str(caught.value)
    with pytest.raises(ValueError, match=r"alex.pth is not lpips_alexnet_linear"):
        weights.weight_file("lpips_alexnet_linear")
    with pytest.raises(ValueError, match=r"LPIPS by VGG16: .*: needs the weights lpips/vgg.pth"):
        weights.weight_file("lpips_vgg16_linear")
