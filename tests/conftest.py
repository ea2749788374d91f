"""Fixtures shared by all tests, the marks that follow from them, and what may be skipped.

Tests run on what anybody has: the landmark model that the product finds, and sample clips that it makes. The folder of
sample data beside the checkout, where there is one, adds parity with the release and more faces.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.skips import (
    NEEDS_GPU,
    NO_SHARED,
    NO_USUAL_LANDMARKER,
    SHARED,
    pytest_make_collect_report,
    pytest_runtest_makereport,
)

if TYPE_CHECKING:
    from tasks.faces.landmarker import LandmarkerAsset

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]

# Python looks for cycles among all objects, and the packages that tests import make a million of them: a fifth of the
# suite's time went there. So it looks less often, and passes over what there is before the first test.
gc.set_threshold(50_000, 10, 10)
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch is imported: see flows/__init__.py
if "PYTEST_XDIST_WORKER" in os.environ:  # as many test processes as cores: one thread each, whatever the shell says,
    os.environ["OMP_NUM_THREADS"] = "1"  # for some fixtures set one, and results of two differ in their last bits
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if (SHARED / "models" / "face_landmarker.task").is_file():
    os.environ.setdefault("FYE_ASSETS", str(SHARED / "models"))

# Tests, by the start of their name, that take seconds; of the rest, which `make quick` runs, hardly one takes two.
SLOW = (
    "tests/flows/test_console.py::test_a_wrong_animation",
    "tests/fye_model/animation/test_earlier_models.py",
    "tests/fye_model/animation/test_loading.py",
    "tests/fye_model/animation/test_pipeline.py",
    "tests/fye_model/animation/test_progressive.py",
    "tests/fye_model/animation/test_sampler.py",
    "tests/fye_model/animation/test_step_cache.py",
    "tests/fye_model/evaluation/graphs/",
    "tests/fye_model/evaluation/test_arcface.py",
    "tests/fye_model/evaluation/test_perceptual.py",
    "tests/fye_model/evaluation/test_video_distance.py",
    "tests/fye_model/networks/test_networks.py",
    "tests/fye_model/networks/test_pretrained.py",
    "tests/fye_model/release/",
    "tests/fye_model/training/test_autoencoder.py",
    "tests/fye_model/training/test_data.py::test_batches_do_not_depend_on_workers",
    "tests/fye_model/training/test_loop.py",
    "tests/tasks/bench/",
    "tests/tasks/engine/test_pool.py",
    "tests/tasks/faces/test_landmarker.py::test_when_nothing_works",
    "tests/tasks/faces/test_plausible.py",
    "tests/tasks/results/test_plots.py",
    "tests/tasks/samples/",
    "tests/tasks/animation/",
    "tests/tasks/faces/test_reader.py",
    "tests/tasks/faces/test_search.py",
    "tests/tasks/jobs/test_animate.py",
    "tests/tasks/jobs/test_animate_many.py",
    "tests/tasks/jobs/test_animate_onto.py",
    "tests/tasks/jobs/test_animate_drivers.py",
    "tests/tasks/jobs/test_import_release.py",
    "tests/tasks/jobs/test_live.py",
    "tests/tasks/jobs/test_perform.py",
    "tests/tasks/studio/",
    "tests/tasks/study/",
    "tests/tasks/report/",
    "tests/tasks/jobs/test_review.py",
    "tests/test_architecture.py::test_every_module",
    "tests/test_readme.py::test_the_python_example",
)
CLIPS, SECONDS, SIDE = 2, 1.6, 240  # of the sample clips: 40 frames each


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks that follow from what a test uses."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if used & {"landmarker_asset", "fallback"}:
            item.add_marker("mediapipe")
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")
        if "prefect_server" in used:
            item.add_marker("prefect")
        if any(re.search(NEEDS_GPU, mark.kwargs.get("reason", "")) for mark in item.iter_markers("skipif")):
            item.add_marker("gpu")


def pytest_collection_finish() -> None:
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real clips, portraits and parity files; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(NO_SHARED)
    return SHARED


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all processes of a test session share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def landmarker_asset(common_folder: Path) -> LandmarkerAsset:
    """The landmark model that the product finds: where FYE_ASSETS says, cached, downloaded, or the fallback."""
    from tasks.faces.landmarker import AssetError, resolve_landmarker

    with FileLock(common_folder / "landmarker.lock"):
        try:
            asset = resolve_landmarker()
        except AssetError as error:
            pytest.skip(f"no landmark model: {error}")
    if not asset.has_matrix:  # the next search, also in a process of its own, finds it at once
        os.environ["FYE_LANDMARKER"] = "fallback"
    return asset


@pytest.fixture(scope="session")
def landmarker_task(landmarker_asset: LandmarkerAsset) -> Path:
    """MediaPipe's face_landmarker.task, for tests of what the fallback model lacks: geometry and blendshapes."""
    if not landmarker_asset.has_matrix:
        pytest.skip(NO_USUAL_LANDMARKER)
    return landmarker_asset.path


@pytest.fixture(scope="session")
def sample_clips(common_folder: Path) -> list[Path]:
    """Two short clips of the sample face in known motion, made once a session: talking, and turning the head."""
    from tasks.samples.clips import make_samples, sample_paths

    folder = common_folder / "samples"
    with FileLock(common_folder / "samples.lock"):
        paths = sample_paths(folder, CLIPS)
        if not all(path.is_file() for path in paths):
            make_samples(folder, CLIPS, SECONDS, SIDE)
    return paths


@pytest.fixture(scope="session")
def prefect_tables(common_folder: Path) -> Callable[[Path], None]:
    """Puts an empty data base of Prefect's at a path, where some server of this session has made one already.

    Making the tables takes a server as long as all else of its start: three seconds of processor.
    """
    made = common_folder / "prefect.db"

    def put(path: Path) -> None:
        if made.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made, path)

    return put


@pytest.fixture(scope="session")
def prefect_server(common_folder: Path, prefect_tables: Callable[[Path], None]) -> Iterator[str]:
    """A real Prefect server with a data base of its own, which this process uses; gives its address for others."""
    from prefect.logging.configuration import setup_logging
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing import utilities

    # a flow's end waits up to a second for the thread of its heartbeat; there are a hundred flows in these tests
    without = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    folder = Path(tempfile.mkdtemp(prefix="fye-prefect-"))
    tables = folder / "prefect-test.db"
    prefect_tables(tables)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utilities, "mkdtemp", lambda: str(folder))
        with utilities.prefect_test_harness(server_startup_timeout=120), without:
            _keep_tables(tables, common_folder / "prefect.db")
            setup_logging()  # a process's first flow would, and takes the root logger's handlers away, caplog's too
            yield PREFECT_API_URL.value()


def _keep_tables(tables: Path, place: Path) -> None:
    """A copy of a data base that a server has open, unless there is one."""
    if place.exists():
        return
    part = place.with_name(f"prefect-{os.getpid()}.part")
    with contextlib.closing(sqlite3.connect(tables)) as ours, contextlib.closing(sqlite3.connect(part)) as copy:
        ours.backup(copy)
    os.replace(part, place)
