"""Any method's videos, or a model's own, scored on a bench side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow

from flows.ending import finish_run
from flows.running import running
from fye_model.animation.compatibility import check_folder
from fye_model.animation.description import need_description
from fye_model.config import LandmarkConfig, Recipe, Runtime
from fye_model.files import folder_digest
from tasks.bench.check import need_bench
from tasks.bench.inputs import Videos, method_videos
from tasks.bench.manifest import PROTOCOL, Bench
from tasks.bench.methods import WARP as WARP_METHOD
from tasks.bench.methods import check_methods, check_output, find_method
from tasks.bench.protocols import PROTOCOLS, ProtocolName
from tasks.bench.publish import publish_scores, publish_videos
from tasks.bench.tables import Scores
from tasks.engine.store import Store
from tasks.faces.landmarker import resolve_landmarker
from tasks.generate import DRIVERS, GENERATE, driver_items, gap_frames_of, generate_items, pair_items
from tasks.jobs.animate import sampling_of
from tasks.score import (
    FACES,
    PROBE,
    SCORE,
    check_results,
    collect_scores,
    distinct,
    face_items,
    probe_items,
    score_items,
)
from tasks.warp import WARP
from tasks.workspace.run import Run


@flow(name="score", flow_run_name="score {output}", log_prints=False)
def score(
    bench: str,
    methods: dict[str, str],
    output: str,
    protocol: ProtocolName = "paper",
    warp: bool = False,
    runtime: Runtime | None = None,
) -> Any:
    """Score folders of result videos, side by side with the repeated reference, under one protocol.

    Args:
        bench: the folder of a bench.
        methods: name -> folder of `<portrait>__<driving>.mp4`.
        output: a folder of this machine: tables, and what an interrupted scoring goes on from.
        protocol: `paper`, `moving` or `whole`: which frames are scored.
        warp: score the mesh warp as well, a method by simple means that is made here.
        runtime: workers and limits: what changes speed, never results.
    """
    folders = check_methods(methods)
    check_output(output, {"the bench": Path(bench), **{f"method {name}": place for name, place in folders.items()}})
    made = need_bench(Path(bench))
    run = _open(output, Recipe(name=PROTOCOL, evaluation=PROTOCOLS[protocol]), runtime)
    with running(run, "score"):
        found = [find_method(made, name, folder) for name, folder in folders.items()]
        videos = {method.name: method_videos(run.store, method) for method in found}
        items = probe_items(videos)
        probed = {outcome.id: outcome for outcome in run.stage(PROBE, items).outcomes} if items else {}
        check_results(made, found, videos, probed)
        warped = _warp(run, made, LandmarkConfig().max_gap_frames) if warp else {}
        results = publish_scores(run, made, _scores(run, made, {**videos, **warped}), protocol)
        for name, of in warped.items():
            results = publish_videos(run, of, results, name)
        return finish_run(run, "score", results)


@flow(name="evaluate-bench", flow_run_name="evaluate {model} on {bench}", log_prints=False)
def evaluate_bench(
    model: str,
    bench: str,
    output: str,
    protocol: ProtocolName = "paper",
    sampling: dict[str, Any] | None = None,
    warp: bool = False,
    runtime: Runtime | None = None,
) -> Any:
    """Make every video of a bench with a model, and score them beside the repeated reference.

    Args:
        model: a model folder.
        bench: the folder of a bench.
        output: a folder of this machine: videos, tables, and what an interrupted run goes on from.
        protocol: `paper`, `moving` or `whole`: which frames are scored.
        sampling: settings on top of those that the model was evaluated with, such as `steps` or `seed`.
        warp: score the mesh warp as well, a method by simple means that is made here.
        runtime: workers, device and limits: what changes speed, never results.
    """
    check_folder(Path(model))
    check_output(output, {"the bench": Path(bench), "the model": Path(model)})
    made = need_bench(Path(bench))
    settings = sampling_of(Path(model), sampling or {})
    run = _open(output, Recipe(name=PROTOCOL, evaluation=PROTOCOLS[protocol], sampling=settings), runtime)
    with running(run, "evaluate"):
        videos = _generate(run, made, Path(model))
        about = {
            "model": f"{folder_digest(Path(model))[:16]} ({need_description(Path(model)).checkpoint})",
            "sampling": settings.model_dump_json(),
        }
        warped = _warp(run, made, gap_frames_of(Path(model))) if warp else {}
        results = publish_scores(run, made, _scores(run, made, {"model": videos, **warped}), protocol, about)
        results = publish_videos(run, videos, results)
        for name, of in warped.items():
            results = publish_videos(run, of, results, name)
        return finish_run(run, "evaluate", results)


def _open(output: str, recipe: Recipe, runtime: Runtime | None) -> Run:
    runtime = runtime or Runtime()
    run = Run(Store(output), recipe, runtime, resolve_landmarker(runtime.assets))
    _ = run.local_root  # tables and videos are written there: say now that they cannot be
    return run


def _generate(run: Run, bench: Bench, model: Path) -> Videos:
    """Driving videos → landmarks → every pair's video by the model."""
    drivers = run.stage(DRIVERS, driver_items(bench, gap_frames_of(model))).all_done()
    made = run.stage(GENERATE, generate_items(run.store, bench, model, drivers)).all_done()
    return {name: outcome.ref("result.mp4") for name, outcome in made.items()}


def _warp(run: Run, bench: Bench, max_gap_frames: int) -> dict[str, Videos]:
    """Driving videos → landmarks → every pair's video by the mesh warp."""
    drivers = run.stage(DRIVERS, driver_items(bench, max_gap_frames)).all_done()
    made = run.stage(WARP, pair_items(bench, drivers)).all_done()
    return {WARP_METHOD: {name: outcome.ref("result.mp4") for name, outcome in made.items()}}


def _scores(run: Run, bench: Bench, videos: Mapping[str, Videos]) -> Scores:
    """Faces → scores, of every method and of the repeated reference."""
    faces = run.stage(FACES, face_items(bench, videos)).all_done()
    items = score_items(bench, videos, faces)
    return collect_scores(run.store, items, run.stage(SCORE, distinct(items)).all_done())
