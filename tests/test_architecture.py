"""The layout's rules: arrows run flows → tasks → fye_model, and each outside library is known in its place only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for folder in ("flows", "tasks", "fye_model") for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


def importers(package: str, folder: str) -> set[str]:
    paths = [path for path in FILES if path.is_relative_to(ROOT / folder)]
    return {path.relative_to(ROOT).as_posix() for path in paths if package in imports(path)}


@pytest.mark.parametrize("package", ["prefect", "ray", "mediapipe", "decord", "av", "flows", "tasks"])
def test_the_library_knows_nothing_of(package: str) -> None:
    assert importers(package, "fye_model") == set()


def test_tasks_know_nothing_of_flows() -> None:
    assert importers("flows", "tasks") == set()


def test_only_the_pool_knows_ray() -> None:
    assert importers("ray", "tasks") | importers("ray", "flows") == {"tasks/engine/pool.py"}


def test_prefect_is_known_where_stages_are_cached_and_runs_are_shown() -> None:
    assert importers("prefect", "tasks") <= {
        "tasks/engine/stage.py",
        "tasks/engine/prefect_records.py",
        "tasks/engine/progress.py",
        "tasks/workspace/run.py",
    }


def test_only_the_detector_and_the_fallback_model_know_mediapipe() -> None:
    assert importers("mediapipe", "tasks") <= {"tasks/faces/detector.py", "tasks/faces/fallback.py"}


def test_one_file_writes_atomically() -> None:
    """Whole or not at all, synced, under one kind of temporary name; the store has a name of its own to give."""
    calls = {path.relative_to(ROOT).as_posix() for path in FILES if "os.replace(" in path.read_text()}
    unfinished = {
        "fye_model/training/autoencoder.py",
        "fye_model/training/checkpoint.py",
        "fye_model/training/latents.py",
        "fye_model/training/progress.py",
        "tasks/workspace/dataset.py",
    }
    assert calls - unfinished == {"fye_model/files.py", "tasks/engine/store.py"}


def test_datasets_hold_no_python() -> None:
    """A package of that name would make transformers believe that Hugging Face datasets is installed."""
    assert list((ROOT / "datasets").rglob("*.py")) == []


def test_every_module_of_the_library_imports_without_the_pipelines_packages() -> None:
    modules = [
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for path in FILES
        if path.is_relative_to(ROOT / "fye_model") and path.stem != "__main__"
    ]
    code = f"""
import importlib, sys
for name in ("prefect", "ray", "mediapipe", "decord", "av"):
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_files_stay_readable() -> None:
    long = {path.name: lines for path in FILES if (lines := len(path.read_text().splitlines())) > 450}
    assert long == {}, "a file is one idea; split these"
