"""A model makes a bench's videos and is scored; killed in the middle, and with other workers: the same digits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fye_model.config import Runtime
from tasks.bench.manifest import Bench
from tasks.engine import pool
from tasks.media.read import probe
from tests.fye_model.animation.tiny import build_tiny, describe_tiny
from tests.tasks.bench.mini import FRAMES, SIZE

pytestmark = pytest.mark.usefixtures("prefect_server")
ROOT = Path(__file__).resolve().parents[3]
SAMPLING = {"steps": 1, "window": 4, "smoothing": "none"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    pipeline = build_tiny()
    pipeline.description = describe_tiny(size=64)
    pipeline.save_pretrained(folder)
    return folder


def _evaluate(model: Path, bench: Bench, output: Path, assets: Path, workers: int) -> None:
    from flows.bench import evaluate_bench

    runtime = Runtime(workers=workers, assets=assets, device="cpu")
    places = {"model": str(model), "bench": str(bench.folder), "output": str(output)}
    evaluate_bench(**places, sampling=SAMPLING, warp=True, runtime=runtime, return_state=True).result()


def _digits(output: Path) -> dict[str, bytes]:
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for folder in ("scores", "videos", "videos-mesh-warp")
        for path in (output / folder).iterdir()
    }


def test_killed_and_resumed_and_with_other_workers_the_digits_are_the_same(
    model: Path, mini_bench: Bench, landmarker_task: Path, prefect_server: str, tmp_path: Path
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    words = ["evaluate", "--model", str(model), "--bench", str(mini_bench.folder), "--work", str(killed), "--warp"]
    words += [word for name, value in SAMPLING.items() for word in ("--set", f"sampling.{name}={value}")]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words, "--workers", "0", "--device", "cpu"],
        cwd=ROOT,
        env={
            **os.environ,
            "FYE_ASSETS": str(landmarker_task.parent),
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "PREFECT_API_URL": prefect_server,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not list(killed.glob("items/bench_generate/*/receipt.json")):
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path.parent.name: path.stat().st_mtime_ns for path in killed.glob("items/bench_generate/*/receipt.json")}
    assert 0 < len(done) < len(mini_bench.pairs) and not (killed / "scores").exists()

    _evaluate(model, mini_bench, killed, landmarker_task.parent, workers=0)
    for name, stamp in done.items():
        assert (killed / "items" / "bench_generate" / name / "receipt.json").stat().st_mtime_ns == stamp
    try:
        _evaluate(model, mini_bench, whole, landmarker_task.parent, workers=2)
    finally:
        pool.shutdown()
    assert _digits(killed) == _digits(whole)

    found = json.loads((whole / "scores" / "scores.json").read_text())
    assert found["methods"] == ["model", "mesh warp", "reference"]
    assert len(found["pairs"]) == 3 * len(mini_bench.pairs)
    assert '"steps":1' in found["protocol"]["sampling"]
    for pair in mini_bench.pairs:
        info = probe(whole / "videos" / f"{pair.name}.mp4")
        assert (info.width, info.height, info.frames, info.fps) == (SIZE, SIZE, FRAMES, 25)


def test_what_cannot_be_evaluated_is_refused_before_anything_starts(model: Path, mini_bench: Bench) -> None:
    from flows.bench_cli import evaluate_on_bench
    from flows.cli import evaluate

    def call(bench: Path, *words: str) -> None:
        evaluate_on_bench(model, bench, "nowhere", "paper", list(words), lambda *_: pytest.fail("started"), None)

    with pytest.raises(ValueError, match=r"is no bench: it has no bench\.json"):
        call(mini_bench.folder.parent)
    for given, what in (
        ({"bench": mini_bench.folder, "videos": mini_bench.folder}, "--bench goes without --videos"),
        ({"bench": mini_bench.folder, "recipe": "demo"}, "--bench goes without --videos and --recipe"),
        ({"protocol": "moving"}, "--protocol goes with --bench"),
        ({"warp": True}, "--warp goes with --bench"),
    ):
        with pytest.raises(ValueError, match=what):
            evaluate(model=model, **given)
    with pytest.raises(ValueError, match=r"--set train: on a bench only sampling"):
        call(mini_bench.folder, "train.loss.norm_p=1")
    with pytest.raises(ValueError, match="stepz: unknown key"):
        call(mini_bench.folder, "sampling.stepz=1")
