"""The mesh warp is a method like others: made beside them, scored under one protocol, and ranked where it belongs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fye_model.config import Runtime
from tasks.bench.manifest import Bench
from tasks.bench.methods import parse_methods
from tasks.media.read import probe, read_frames
from tests.tasks.bench.mini import FRAMES, SIZE

pytestmark = pytest.mark.usefixtures("prefect_server")


def _score(bench: Bench, output: Path, assets: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from flows.bench import score

    runtime = Runtime(workers=0, assets=assets)
    places = {"bench": str(bench.folder), "output": str(output)}
    score(**places, methods={}, warp=True, runtime=runtime, return_state=True).result()
    return json.loads((output / "scores" / "scores.json").read_text()), json.loads(
        (output / "summary.json").read_text()
    )


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warped") / "out"


@pytest.fixture(scope="module")
def scored(mini_bench: Bench, landmarker_task: Path, output: Path) -> dict[str, Any]:
    return _score(mini_bench, output, landmarker_task.parent)[0]


def test_every_pair_has_a_video_that_covers_its_portrait(
    scored: dict[str, Any], mini_bench: Bench, output: Path
) -> None:
    assert scored["methods"] == ["mesh warp", "reference"]
    for pair in mini_bench.pairs:
        path = output / "videos-mesh-warp" / f"{pair.name}.mp4"
        info = probe(path)
        assert (info.width, info.height, info.frames) == (SIZE, SIZE, FRAMES)
        if not mini_bench.portrait(pair).detectable:
            frames = read_frames(path).astype(int)
            assert np.abs(frames - frames[:1]).max() <= 3, "a portrait without a face is repeated"


def test_it_moves_as_the_driver_does_and_the_repeated_reference_does_not(scored: dict[str, Any]) -> None:
    """The sample's driver is such a warp itself: here it has to be found better in every question."""
    differences = {row["metric"]: row for row in scored["tasks"]["self"]["differences"]}
    for name in ("l1", "ssim", "expression_error", "expression_correlation", "landmark_ap"):
        assert differences[name]["outcome"] == "better", name
    cells = scored["tasks"]["self"]["methods"]["mesh warp"]
    assert cells["expression_correlation"]["value"] > 0.8 and cells["failure_rate"]["value"] == 0


def test_the_notes_say_what_it_is_and_a_second_scoring_makes_nothing(
    scored: dict[str, Any], mini_bench: Bench, landmarker_task: Path, output: Path
) -> None:
    assert "mesh warp: the portrait's picture bent" in (output / "scores" / "table.md").read_text()
    again, summary = _score(mini_bench, output, landmarker_task.parent)
    assert again == scored
    assert {stage["stage"]: stage["computed"] for stage in summary["stages"]} == dict.fromkeys(
        ("bench_drivers", "bench_warp", "bench_faces", "bench_score"), 0
    )


def test_its_name_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'mesh warp' is made by --warp; give another name"):
        parse_methods([f"mesh warp={tmp_path}"])
