"""A small study that is built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.bench.manifest import Bench
from tasks.jobs.build_study import build_study
from tasks.study.manifest import Study, StudySettings
from tests.tasks.study.small import make_bench, make_methods

SETTINGS = StudySettings(cases=4, seed=3, size=64)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("benches") / "<b>bench<")


@pytest.fixture(scope="session")
def methods(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_methods(bench, tmp_path_factory.mktemp("methods"))


@pytest.fixture(scope="session")
def built(bench: Bench, methods: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    """The folder of a study of three methods and four cases, and its key."""
    folder = tmp_path_factory.mktemp("studies") / "study"
    return folder, build_study(bench.folder, methods, folder, SETTINGS, lambda line: None)
