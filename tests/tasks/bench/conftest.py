"""A mini bench that is built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.bench.manifest import Bench
from tasks.faces.landmarker import LandmarkerAsset
from tests.tasks.bench.mini import build_mini, make_offers


@pytest.fixture(scope="session")
def offers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_offers(tmp_path_factory.mktemp("offers"))


@pytest.fixture(scope="session")
def mini_bench(
    offers: tuple[Path, Path],
    landmarker_task: Path,  # tags and some scores are read from blendshapes
    landmarker_asset: LandmarkerAsset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bench:
    return build_mini(offers, tmp_path_factory.mktemp("benches") / "mini", landmarker_asset)
