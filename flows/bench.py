"""Any method's videos, or a model's own, scored on a bench side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from prefect import flow

from flows.ending import finish_run
from fye_model.animation.compatibility import check_folder
from fye_model.animation.description import need_description
from fye_model.config import EvaluationConfig, Recipe, Runtime
from fye_model.files import file_digest, folder_digest
from tasks.animate import sampling_of
from tasks.bench.check import need_bench, result_problems
from tasks.bench.frames import ProbeRow
from tasks.bench.manifest import MANIFEST, PROTOCOL, Bench, PairRow
from tasks.bench.methods import REFERENCE, Method, find_method
from tasks.bench.tables import TABLES_FOLDER, Scores, side_by_side, write_tables
from tasks.engine.items import NOTHING, Item, Nothing, Outcome, Row, StageResult
from tasks.engine.store import FileRef, HashMemory, Store, digest
from tasks.faces.landmarker import resolve_landmarker
from tasks.generate import DRIVERS, GENERATE, DriverFacts
from tasks.score import FACES, PROBE, SCORE, PairFacts, read_scores
from tasks.workspace.dataset import folder_inputs
from tasks.workspace.run import Run, recorded
from tasks.workspace.summary import Results

ProtocolName = Literal["paper", "moving", "whole"]
# The frames after the reference: the first 64, the 64 in which most moves, or all of them; at 256 x 256 pixels.
PROTOCOLS: dict[str, EvaluationConfig] = {
    "paper": EvaluationConfig(frames=64, size=256, window="start"),
    "moving": EvaluationConfig(frames=64, size=256, window="moving"),
    "whole": EvaluationConfig(frames=100_000, size=256, window="start"),
}
_FRAMES_TEXT = {
    "paper": "the first 64 after the reference",
    "moving": "the 64 after the reference in which most moves in the driver",
    "whole": "all after the reference",
}
VIDEOS_FOLDER = "videos"
Videos = Mapping[str, FileRef]  # pair's name -> its result


@flow(name="score", flow_run_name="score {output}", log_prints=False)
def score(
    bench: str,
    methods: dict[str, str],
    output: str,
    protocol: ProtocolName = "paper",
    runtime: Runtime | None = None,
) -> Any:
    """Score folders of result videos, side by side with the repeated reference, under one protocol.

    Args:
        bench: the folder of a bench.
        methods: name -> folder of `<portrait>__<driving>.mp4`.
        output: a folder of this machine: tables, and what an interrupted scoring goes on from.
        protocol: `paper`, `moving` or `whole`: which frames are scored.
        runtime: workers and limits: what changes speed, never results.
    """
    made = need_bench(Path(bench))
    run = _open(output, Recipe(name=PROTOCOL, evaluation=PROTOCOLS[protocol]), runtime)
    with recorded(run, "score"):
        found = [find_method(made, name, Path(folder)) for name, folder in methods.items()]
        videos = {method.name: _refs(run.store, method) for method in found}
        _check_results(run, made, found, videos)
        return finish_run(run, "score", _tables(run, made, videos, protocol))


@flow(name="evaluate-bench", flow_run_name="evaluate {model} on {bench}", log_prints=False)
def evaluate_bench(
    model: str,
    bench: str,
    output: str,
    protocol: ProtocolName = "paper",
    sampling: dict[str, Any] | None = None,
    runtime: Runtime | None = None,
) -> Any:
    """Make every video of a bench with a model, and score them beside the repeated reference.

    Args:
        model: a model folder.
        bench: the folder of a bench.
        output: a folder of this machine: videos, tables, and what an interrupted run goes on from.
        protocol: `paper`, `moving` or `whole`: which frames are scored.
        sampling: settings on top of those that the model was evaluated with, such as `steps` or `seed`.
        runtime: workers, device and limits: what changes speed, never results.
    """
    check_folder(Path(model))
    made = need_bench(Path(bench))
    settings = sampling_of(Path(model), sampling or {})
    run = _open(output, Recipe(name=PROTOCOL, evaluation=PROTOCOLS[protocol], sampling=settings), runtime)
    with recorded(run, "evaluate"):
        videos = _generate(run, made, Path(model))
        about = {
            "model": f"{folder_digest(Path(model))[:16]} ({need_description(Path(model)).checkpoint})",
            "sampling": settings.model_dump_json(),
        }
        results = _tables(run, made, {"model": videos}, protocol, about)
        return finish_run(run, "evaluate", _with_videos(run, videos, results))


def _open(output: str, recipe: Recipe, runtime: Runtime | None) -> Run:
    store, runtime = Store(output), runtime or Runtime()
    if store.local_root is None:
        raise ValueError(f"output {output} is not a folder of this machine; give one")
    return Run(store, recipe, runtime, resolve_landmarker(runtime.assets))


def _refs(store: Store, method: Method) -> Videos:
    """A method's videos as the stages' inputs."""
    hashes = HashMemory(store)
    refs = {pair: FileRef(str(path), *hashes.digest(path)) for pair, path in method.videos.items()}
    hashes.save()
    return refs


def _bench_ref(bench: Bench, file: str) -> FileRef:
    """A file of a bench, whose digest its manifest vouches for."""
    entry = bench.header.files[file]
    return FileRef(str(bench.path(file).resolve()), entry.sha256, entry.size)


def _check_results(run: Run, bench: Bench, methods: list[Method], videos: Mapping[str, Videos]) -> None:
    """Look at every result before anything is computed; ValueError names all that is wrong, one by one."""
    refs = {ref.sha256: ref for of in videos.values() for ref in of.values()}
    probed: dict[str, Outcome[ProbeRow]] = {}
    if refs:
        items = [Item(sha256, Path(ref.path).name, {"video": ref}, NOTHING) for sha256, ref in refs.items()]
        probed = {outcome.id: outcome for outcome in run.stage(PROBE, items).outcomes}
    problems: list[str] = []
    for method in methods:
        problems += method.problems
        outcomes = {pair: probed[ref.sha256] for pair, ref in videos[method.name].items()}
        problems += result_problems(bench, method.name, outcomes)
    if problems:
        told = "\n".join(f"  {problem}" for problem in problems)
        raise ValueError(f"{len(problems)} problems with the results, so nothing was scored:\n{told}")


def _generate(run: Run, bench: Bench, model: Path) -> Videos:
    """Every pair's video by the model; ValueError names those that could not be made."""
    facts = DriverFacts(max_gap_frames=need_description(model).max_gap_frames)
    drivers = [Item(row.id, row.id, {"driving": _bench_ref(bench, row.file)}, facts) for row in bench.driving]
    landmarks = _all_done(run.stage(DRIVERS, drivers))
    networks = folder_inputs(run.store, model, "model")
    items: list[Item[Nothing]] = [
        Item(
            pair.name,
            pair.name,
            {
                "portrait": _bench_ref(bench, bench.portrait(pair).file),
                "landmarks": landmarks[pair.driving].ref("landmarks.parquet"),
                **networks,
            },
            NOTHING,
        )
        for pair in bench.pairs
    ]
    return {name: outcome.ref("result.mp4") for name, outcome in _all_done(run.stage(GENERATE, items)).items()}


def _tables(
    run: Run, bench: Bench, videos: Mapping[str, Videos], protocol: str, about: Mapping[str, str] | None = None
) -> Results:
    """Faces, scores and tables of every method and of the repeated reference. about: more to read the numbers with."""
    store = run.store
    drivers = {pair.driving: _bench_ref(bench, bench.driver(pair).file) for pair in bench.pairs}
    portraits = {pair.portrait: _bench_ref(bench, bench.portrait(pair).file) for pair in bench.pairs}
    looked_at = {ref.sha256: ("video", ref) for of in (drivers, *videos.values()) for ref in of.values()}
    looked_at |= {ref.sha256: ("picture", ref) for ref in portraits.values()}
    items = [Item(sha256, Path(ref.path).name, {kind: ref}, NOTHING) for sha256, (kind, ref) in looked_at.items()]
    faces = {name: outcome.ref("landmarks.parquet") for name, outcome in _all_done(run.stage(FACES, items)).items()}

    def item(pair: PairRow, video: FileRef | None) -> Item[PairFacts]:
        driver, portrait = drivers[pair.driving], portraits[pair.portrait]
        inputs = {"driving": driver, "driving_landmarks": faces[driver.sha256], "portrait": portrait}
        inputs |= {"portrait_landmarks": faces[portrait.sha256]}
        inputs |= {"landmarks": faces[(video or portrait).sha256]} | ({"video": video} if video else {})
        return Item(digest([pair.name, video and video.sha256]), pair.name, inputs, PairFacts(kind=pair.kind))

    made = {method: {pair.name: item(pair, of[pair.name]) for pair in bench.pairs} for method, of in videos.items()}
    made[REFERENCE] = {pair.name: item(pair, None) for pair in bench.pairs}
    unique = {entry.id: entry for of in made.values() for entry in of.values()}
    outcomes = _all_done(run.stage(SCORE, list(unique.values())))
    scores: Scores = {
        method: {
            pair: read_scores(store.local_path(outcomes[entry.id].ref("scores.json").path))
            for pair, entry in of.items()
        }
        for method, of in made.items()
    }
    root = store.local_root
    assert root is not None
    terms: dict[str, str | int] = {
        "scored frames": f"{protocol}: {_FRAMES_TEXT[protocol]}",
        "size": run.recipe.evaluation.size,
        "crop": "none; bench and results are square",
        "landmark model": run.landmarker.model,
        **(about or {}),
    }
    found = side_by_side(bench, file_digest(bench.folder / MANIFEST), terms, scores)
    write_tables(found, root / TABLES_FOLDER)
    names = {"tables": "table.html", "markdown": "table.md", "numbers": "scores.json"}
    return Results(outputs={label: str(root / TABLES_FOLDER / name) for label, name in names.items()})


def _with_videos(run: Run, videos: Videos, results: Results) -> Results:
    """The model's videos at their fixed place, named as `fye score` wants them."""
    for name, ref in videos.items():
        run.store.write_bytes(f"{VIDEOS_FOLDER}/{name}.mp4", run.store.read_bytes(ref.path))
    place = str((run.store.local_root or Path()) / VIDEOS_FOLDER)
    return results.model_copy(update={"outputs": {**(results.outputs or {}), "videos": place}})


def _all_done(result: StageResult[Row]) -> dict[str, Outcome[Row]]:
    """A stage's outcomes by id; ValueError names every one that failed: a table never leaves a pair out."""
    if result.quarantined:
        told = "\n".join(f"  {outcome.name}: {outcome.reason}: {outcome.message}" for outcome in result.quarantined)
        raise ValueError(f"{result.stage}: {len(result.quarantined)} could not be done, so nothing is told:\n{told}")
    return {outcome.id: outcome for outcome in result.outcomes}
