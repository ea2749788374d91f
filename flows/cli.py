"""The `fye` command line."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, Parameter

import flows  # noqa: F401  # its environment must stand before Prefect is imported
from flows import (
    ablate_cli,
    assets_cli,
    compare_cli,
    completion_cli,
    dataset_cli,
    doctor_cli,
    history_cli,
    live_cli,
    promote_cli,
    retry_cli,
    sources_cli,
    stage_cli,
    store_cli,
    studio_cli,
    study_cli,
)
from flows.animate_cli import add_animate_command, add_animate_many_command
from flows.bench_cli import Protocol, Warp, add_bench_commands, evaluate_on_bench
from flows.options import (
    ALL,
    TOLD,
    Device,
    FollowLinks,
    Overrides,
    Part,
    Processes,
    RecipeName,
    SourceName,
    Told,
    Videos,
    Work,
    Workers,
    checked_recipe,
    footage,
    runtime_and_recipe,
)

_KEPT = "What is finished is kept; the same command goes on from there."


def _version() -> str:
    from fye_model.version import __version__  # asks the installed packages, which takes a moment

    return __version__


app = App(
    name="fye",
    help="Train, evaluate and run Follow-Your-Emoji portrait animation.",
    version=_version,
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # `main` has a word to say about it
)
config_app = App(name="config", help="Look at recipes.")
app.command(config_app)
for commands in (
    *(stage_cli, compare_cli, dataset_cli, assets_cli, retry_cli, history_cli, doctor_cli),
    *(store_cli, study_cli, studio_cli, live_cli, sources_cli, completion_cli),
):
    commands.register(app)


@app.command
def demo(
    *,
    videos: Videos = None,
    work: Work = "work/demo",
    set_: Overrides = None,
    workers: Workers = 2,
    told: Told = TOLD,
) -> int:
    """Run the full retrain with the `demo` recipe, on your videos or on sample clips that it makes."""
    from tasks.samples.clips import PERSON, make_samples, sample_paths

    if videos is None:
        videos = Path("work/demo" if "://" in work else work) / "samples"
        person = videos / PERSON
        if not all(path.is_file() for path in sample_paths(person)):  # a file that is there is whole
            make_samples(person)
    return retrain(videos=videos, work=work, recipe="demo", set_=set_, workers=workers, told=told)


@app.command
def samples(
    output: Annotated[Path, Parameter(help="Folder for a folder of clips of each person.")],
    *,
    portraits: Annotated[
        list[Path] | None,
        Parameter(help="Pictures, or folders of them: each becomes a person. Without any, the demo's.", negative=""),
    ] = None,
    clips: Annotated[int, Parameter(help="Of each person.")] = 6,
    seconds: Annotated[float, Parameter(help="Length of a clip.")] = 6.0,
    size: Annotated[int, Parameter(help="Side of a clip in pixels.")] = 384,
    seed: Annotated[int, Parameter(help="Of the motion.")] = 0,
    told: Told = TOLD,
) -> int:
    """Put portraits into known motion: blinks, mouth, gaze, brows, turns. Makes clips, and a table of their motion."""
    from tasks.samples.clips import PERSON, SampleSettings, make_samples

    settings = SampleSettings(clips, seconds, size, seed=seed)
    if portraits is None:
        paths = [str(path) for path in make_samples(output / PERSON, clips, seconds, size, seed=seed)]
        told.end({"clips": paths}, *paths)
        return 0
    from tasks.faces.landmarker import resolve_landmarker
    from tasks.jobs.perform import find_pictures, perform

    made: list[str] = []
    for performed in perform(find_pictures(portraits), output, settings, resolve_landmarker()):
        for said in (*performed.notes, *([performed.problem] if performed.problem else [])):
            print(f"fye: {said}", file=sys.stderr)
        for path in performed.clips:
            told.log(str(path))
            made.append(str(path))
    if told.json:
        told.end({"clips": made})
    return 0 if made else 1


@app.command
def retrain(
    *,
    videos: Videos = None,
    source: SourceName = None,
    follow_links: FollowLinks = False,
    work: Work = "work/retrain",
    recipe: RecipeName = "paper",
    set_: Overrides = None,
    workers: Workers = 2,
    device: Device = "auto",
    processes: Processes = 1,
    part: Part = ALL,
    told: Told = TOLD,
) -> int:
    """Videos in; a trained, selected, evaluated model and its report out. Goes on where an earlier run stopped."""
    from tasks.workspace.recipes import check_weights

    runtime, overrides = runtime_and_recipe(set_, workers=workers, device=device, processes=processes)
    steps = part.steps("retrain")
    added = footage(videos, source, follow_links)
    check_weights(checked_recipe(recipe, overrides, work, **added))
    from flows.retrain import retrain as flow  # Prefect takes seconds to import

    how = {"recipe": recipe, "overrides": overrides, "runtime": runtime, "steps": steps}
    return _run(flow, told=told, **added, work=work, **how)


@app.command
def refresh(
    *,
    videos: Videos = None,
    source: SourceName = None,
    follow_links: FollowLinks = False,
    work: Work = "work/retrain",
    recipe: RecipeName = "paper",
    set_: Overrides = None,
    workers: Workers = 2,
    shard: Annotated[str | None, Parameter(help="Make the clips of one part alone: 2/4 is the second of four.")] = None,
    part: Part = ALL,
    told: Told = TOLD,
) -> int:
    """Bring a data set up to date with its video folders; says what was added, dropped and why."""
    from tasks.footage.shards import Shard

    if shard is not None:
        Shard.parse(shard)
    runtime, overrides = runtime_and_recipe(set_, workers=workers)
    steps = part.steps("refresh")
    added = footage(videos, source, follow_links)
    checked_recipe(recipe, overrides, work, **added)
    from flows.refresh import refresh as flow

    how = {"recipe": recipe, "overrides": overrides, "runtime": runtime, "steps": steps, "shard": shard}
    return _run(flow, 200, told=told, **added, work=work, **how)


@app.command
def capture(
    folder: Annotated[Path, Parameter(help="Folder of this subject's videos.")],
    *,
    subject: Annotated[str, Parameter(help="Name that keeps this person's clips together.")],
    source: SourceName = "captured",
    follow_links: FollowLinks = False,
    work: Work = "work/retrain",
    recipe: RecipeName = "paper",
    set_: Overrides = None,
    workers: Workers = 2,
    told: Told = TOLD,
) -> int:
    """Add one newly captured subject to a data set, without recomputing the rest."""
    runtime, overrides = runtime_and_recipe(set_, workers=workers)
    checked_recipe(recipe, overrides, work, **footage(folder, source, follow_links))
    from flows.capture import capture as flow

    place = {"folder": str(folder), "source": source, "follow_links": follow_links, "work": work}
    return _run(flow, told=told, subject=subject, **place, recipe=recipe, overrides=overrides, runtime=runtime)


@app.command
def evaluate(
    *,
    model: Annotated[Path | None, Parameter(help="Model folder, such as WORK/model after a retrain.")] = None,
    videos: Videos = None,
    away: Annotated[
        Path | None, Parameter(help="Instead of --model: what a machine made of the pack of --work (see `fye pack`).")
    ] = None,
    bench: Annotated[Path | None, Parameter(help="A bench to evaluate on instead: see `fye bench`.")] = None,
    protocol: Protocol = "paper",
    warp: Warp = False,
    work: Work = "work/evaluate",
    recipe: RecipeName = "paper",
    set_: Overrides = None,
    workers: Workers = 2,
    device: Device = "auto",
    told: Told = TOLD,
) -> int:
    """Evaluate a model on videos that it has not seen: tables, strips, side-by-side videos. Or on a bench."""
    if (model is None) == (away is None):
        raise ValueError("give --model, a model folder, or --away, the output of training on a pack: one of the two")
    if bench is not None:
        if model is None:
            raise ValueError("--bench goes with --model")
        if videos is not None or recipe != "paper":
            raise ValueError("--bench goes without --videos and --recipe: a bench brings its own videos and rules")
        runtime, overrides = runtime_and_recipe(set_, workers=workers, device=device)
        return evaluate_on_bench(model, bench, work, protocol, overrides, _run, runtime, warp, told)
    if warp:
        raise ValueError("--warp goes with --bench")
    if protocol != "paper":
        raise ValueError("--protocol goes with --bench; without one, it is --set evaluation.window=moving")
    from fye_model.animation.folder import check_model

    check_model(model if away is None else away / "model")  # type: ignore[arg-type]  # one of the two is given
    runtime, overrides = runtime_and_recipe(set_, workers=workers, device=device)
    checked_recipe(recipe, overrides, work, **footage(videos))
    from flows.evaluate import evaluate as flow

    arguments = {"work": work, "recipe": recipe, "overrides": overrides, "runtime": runtime}
    return _run(flow, told=told, model=_text(model), videos=_text(videos), away=_text(away), **arguments)


@app.command
def pack(
    output: Annotated[Path, Parameter(help="Folder for the pack; one that is there is replaced.")],
    *,
    videos: Videos = None,
    source: SourceName = None,
    work: Work = "work/retrain",
    recipe: RecipeName = "paper",
    set_: Overrides = None,
    workers: Workers = 2,
    told: Told = TOLD,
) -> int:
    """Pack a data set for a machine that trains with the library alone; `evaluate --away` scores what comes back."""
    runtime, overrides = runtime_and_recipe(set_, workers=workers)
    checked_recipe(recipe, overrides, work, **footage(videos, source))
    from flows.pack import pack as flow

    arguments = {"work": work, "recipe": recipe, "overrides": overrides, "runtime": runtime}
    return _run(flow, told=told, output=str(output), videos=_text(videos), source=source, **arguments)


@app.command
def import_release(
    source: Annotated[Path, Parameter(help="Folder with referencenet.pth, unet.pth and lmk_guider.pth.")],
    *,
    output: Annotated[Path, Parameter(help="Folder for the model, or for the converted networks alone.")],
    autoencoder: Annotated[Path | None, Parameter(help="Folder of sd-vae-ft-mse, for a model that animates.")] = None,
    image_encoder: Annotated[Path | None, Parameter(help="CLIP folder of sd-image-variations-diffusers.")] = None,
    set_: Annotated[
        list[str] | None,
        Parameter(name="--set", help="A network setting, as KEY=VALUE: image_prompt=linear_qformer …", negative=""),
    ] = None,
    told: Told = TOLD,
) -> int:
    """Convert the authors' released weights into this project's format; says what was loaded into what."""
    from tasks.jobs.import_release import import_model
    from tasks.workspace.recipes import parse_overrides

    said = import_model(source, output, autoencoder, image_encoder, parse_overrides(set_ or []))
    told.end({"output": str(output)}, said)
    return 0


@config_app.command
def show(*, recipe: RecipeName = "paper", set_: Overrides = None) -> int:
    """Print the resolved recipe as YAML."""
    from tasks.workspace.recipes import dump_recipe, load_recipe

    print(dump_recipe(load_recipe(recipe, set_ or [])), end="")
    return 0


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _run(
    flow: Any, lines_of_a_kind: int = 10, table: Path | None = None, /, told: Told = TOLD, **parameters: Any
) -> int:
    """Run a flow here, and end with what it made and where, or with what went wrong. table: text to show below that."""
    from prefect.exceptions import TerminationSignal  # SIGTERM in a flow, whose state says so then

    from flows.console import hide_tracebacks, nearby, only_warnings
    from flows.early import early_ray
    from flows.server import server_told, start_server
    from tasks.workspace.summary import Results, result_lines

    hide_tracebacks()
    if told.quiet:
        only_warnings()
    start_server(early_ray(parameters))
    with server_told():
        try:
            state = flow(**parameters, return_state=True)
        except TerminationSignal as stopped:
            raise ToldToStop from stopped
        error = None if state.is_completed() else state.result(raise_on_failure=False)
        if isinstance(error, BaseException):
            raise error
    if not state.is_completed():
        print(f"fye: the run ended as {state.name}: {state.message}", file=sys.stderr)
        return 1
    summary = state.result()
    found = Results.model_validate({name: summary.get(name) for name in Results.model_fields})
    lines = [f"\n{state.name}" + (f" in {summary['seconds']:.0f} s" if "seconds" in summary else "")]
    for label, text in result_lines(found, summary.get("quarantined", 0), lines_of_a_kind):
        lines.append(f"  {label:<12} {nearby(text)}")
    if table is not None:
        lines.append(f"\n{table.read_text(encoding='utf-8').rstrip()}")
    told.end(summary, *lines)
    return 0


add_bench_commands(app, _run)
ablate_cli.register(app, _run)
promote_cli.register(app, _run)
add_animate_command(app, _run)
add_animate_many_command(app)


class ToldToStop(BaseException):
    """SIGTERM: by a scheduler, the system, or `kill`."""


def _told_to_stop(number: int, frame: object) -> None:
    raise ToldToStop


def _stopped(says: str, status: int) -> NoReturn:
    print(f"\nfye: {says}", file=sys.stderr)
    sys.unraisablehook = lambda _: None  # a library's objects that were cut off half-made complain as they go
    sys.exit(status)


def main() -> None:
    """Console script: clear errors without a traceback (FYE_DEBUG=1 shows it), 130 after Ctrl-C, 143 after SIGTERM."""
    signal.signal(signal.SIGTERM, _told_to_stop)
    if isinstance(sys.stdout, io.TextIOWrapper):  # into a pipe or a log a line goes when it is said, as on a terminal
        sys.stdout.reconfigure(line_buffering=True)
    try:
        sys.exit(app(result_action="return_value"))
    except KeyboardInterrupt:
        _stopped(f"interrupted. {_KEPT}", 130)
    except ToldToStop:
        _stopped(f"told to stop (SIGTERM). {_KEPT}", 143)
    except Exception as error:
        if os.environ.get("FYE_DEBUG"):
            raise
        print(
            f"fye: {error if isinstance(error, ValueError | OSError) else f'{type(error).__name__}: {error}'}",
            file=sys.stderr,
        )
        print("     (FYE_DEBUG=1 shows the traceback)", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
