"""Fixtures shared by all tests: where real sample data lie, when they do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch is imported: see flows/__init__.py
if "PYTEST_XDIST_WORKER" in os.environ:  # as many test processes as cores: one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real clips, portraits, the landmark model and parity files; tests that need it are skipped."""
    if not SHARED.is_dir():
        pytest.skip("no folder of sample data beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def landmarker_task(shared: Path) -> Path:
    """MediaPipe's face_landmarker.task."""
    path = shared / "models" / "face_landmarker.task"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the sample data")
    return path


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A real Prefect server with a data base of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
