"""The command line's part about benches: `fye bench build`, `fye bench check`, `fye score`, `fye evaluate --bench`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from flows.options import TOLD, Told, Workers, runtime_and_recipe

Protocol = Annotated[
    Literal["paper", "moving", "whole"],
    Parameter(help="Frames: the first 64 after the reference, the 64 in which most moves, or all."),
]
Warp = Annotated[
    bool, Parameter(help="Make and score the mesh warp as well: the portrait bent by its landmarks.", negative="")
]
bench_app = App(name="bench", help="Make and check a benchmark such as EmojiBench.")


@bench_app.command
def build(
    portraits: Annotated[Path, Parameter(help="Folder of pictures, best as STYLE/SOURCE/file.")],
    driving: Annotated[Path, Parameter(help="Folder of videos of faces in motion.")],
    *,
    output: Annotated[Path, Parameter(help="Folder for the bench.")],
    pairs: Annotated[int, Parameter(help="Pairs of portrait and driving video to draw.")] = 45,
    seed: Annotated[int, Parameter(help="Of the drawing.")] = 0,
    seconds: Annotated[float, Parameter(help="Of each driving video: those in which most moves.")] = 5.0,
    size: Annotated[int, Parameter(help="Side of pictures and videos in pixels.")] = 512,
    told: Told = TOLD,
) -> int:
    """Make a bench of any pictures and videos: squares around faces, tags, pairs, and a manifest with every digest."""
    from pydantic import ValidationError

    from tasks.bench.check import check_bench
    from tasks.faces.landmarker import resolve_landmarker
    from tasks.jobs.build_bench import BuildSettings, build_bench
    from tasks.workspace.recipes import explain_problems

    try:
        settings = BuildSettings(pairs=pairs, seed=seed, seconds=seconds, size=size)
    except ValidationError as error:
        raise ValueError("; ".join(explain_problems(error, BuildSettings))) from error
    bench = build_bench(portraits, driving, output, settings, resolve_landmarker(), log=told.log)
    for row in bench.rejected:
        told.warn(f"{row.what} {row.source_file}: not taken: {row.reason}: {row.message}")
    kinds = [pair.kind for pair in bench.pairs]
    own = sum(not row.frame_of for row in bench.portraits)
    differences = check_bench(output).differences
    counts = {"portraits": own, "driving": len(bench.driving), "rejected": len(bench.rejected)}
    pairs_of = {f"{kind}_pairs": kinds.count(kind) for kind in ("cross", "self")}
    told.end(
        {"bench": str(output), **counts, **pairs_of, "differences": differences},
        f"\n{output}: {own} portraits, {len(bench.driving)} driving videos, {kinds.count('cross')} cross and "
        f"{kinds.count('self')} self pairs, {len(bench.rejected)} files not taken",
        *_difference_lines(differences),
    )
    return 0


@bench_app.command
def check(folder: Annotated[Path, Parameter(help="Folder of a bench.")], *, told: Told = TOLD) -> int:
    """Hold a bench against its own manifest, and against the composition of the paper's."""
    from tasks.bench.check import check_bench

    checked = check_bench(folder)
    lines = [f"problem: {problem}" for problem in checked.problems]
    if checked.bench is not None and not checked.problems:
        header = checked.bench.header
        lines.append(f"{folder} is whole: {len(header.files)} files as {header.name} lists them")
    found = {"bench": str(folder), "problems": checked.problems, "differences": checked.differences}
    for problem in checked.problems:
        told.warn(problem)
    told.end(found, *lines, *_difference_lines(checked.differences))
    if checked.problems:
        print(f"fye: {len(checked.problems)} problems in {folder}", file=sys.stderr)
    return 1 if checked.problems else 0


def _difference_lines(differences: tuple[str, ...]) -> list[str]:
    lines = [f"differs from the paper: {difference}" for difference in differences]
    return lines or ["composed as the paper's EmojiBench"]


def add_bench_commands(app: App, run: Callable[..., int]) -> None:
    """Add these commands to the `fye` command. run: runs a flow here."""
    app.command(bench_app)

    @app.command
    def score(
        *,
        bench: Annotated[Path, Parameter(help="Folder of a bench.")],
        output: Annotated[str, Parameter(help="Folder for tables, and for what an interrupted scoring goes on from.")],
        method: Annotated[
            list[str] | None, Parameter(help="NAME=FOLDER of PORTRAIT__DRIVING.mp4. May be given often.", negative="")
        ] = None,
        warp: Warp = False,
        protocol: Protocol = "paper",
        workers: Workers = 2,
        told: Told = TOLD,
    ) -> int:
        """Score any methods' videos of a bench side by side, beside the portrait repeated."""
        from tasks.bench.manifest import read_header
        from tasks.bench.methods import check_output, parse_methods

        if not method and not warp:
            raise ValueError("nothing to score: give --method NAME=FOLDER, or --warp for the mesh warp")
        folders = parse_methods(method or [])
        check_output(output, {"the bench": bench, **{f"method {name}": place for name, place in folders.items()}})
        read_header(bench)
        settings, _ = runtime_and_recipe(None, workers=workers)
        from flows.bench import score as flow  # Prefect takes seconds to import

        methods = {name: str(folder) for name, folder in folders.items()}
        terms = {"protocol": protocol, "warp": warp, "runtime": settings}
        return run(flow, 10, _table(output), told=told, bench=str(bench), methods=methods, output=output, **terms)


def evaluate_on_bench(
    model: Path,
    bench: Path,
    output: str,
    protocol: Literal["paper", "moving", "whole"],
    words: list[str],
    run: Callable[..., int],
    runtime: Any,
    warp: bool = False,
    told: Told = TOLD,
) -> int:
    """`fye evaluate --bench`. words: KEY=VALUE of sampling settings; ValueError for any other."""
    from fye_model.animation.compatibility import check_folder
    from tasks.bench.manifest import read_header
    from tasks.bench.methods import check_output
    from tasks.jobs.animate import sampling_of
    from tasks.workspace.recipes import parse_overrides

    changes = parse_overrides(words)
    if wrong := [name for name in changes if name != "sampling"]:
        raise ValueError(f"--set {wrong[0]}: on a bench only sampling.* can be set, such as sampling.steps=20")
    sampling = changes.get("sampling", {})
    if not isinstance(sampling, dict):
        raise ValueError(f"--set sampling={sampling}: name the setting, such as sampling.steps=20")
    check_folder(model)
    check_output(output, {"the bench": bench, "the model": model})
    sampling_of(model, sampling)
    read_header(bench)
    from flows.bench import evaluate_bench as flow  # Prefect takes seconds to import

    places = {"model": str(model), "bench": str(bench), "output": output}
    terms = {"protocol": protocol, "sampling": sampling, "warp": warp, "runtime": runtime}
    return run(flow, 10, _table(output), told=told, **places, **terms)


def _table(output: str) -> Path:
    from tasks.bench.tables import TABLES_FOLDER

    return Path(output) / TABLES_FOLDER / "table.md"
