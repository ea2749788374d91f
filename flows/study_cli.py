"""`fye study`: a page on which people rank methods' videos, and what their answers say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from flows.options import TOLD, Told

study_app = App(name="study", help="A user study: build its page, score its answers.")


@study_app.command
def build(
    *,
    bench: Annotated[Path, Parameter(help="Folder of a bench.")],
    method: Annotated[list[str], Parameter(help="NAME=FOLDER of PORTRAIT__DRIVING.mp4. Two or more.", negative="")],
    output: Annotated[Path, Parameter(help="Folder for the page and its key.")],
    cases: Annotated[int, Parameter(help="Pairs to draw.")] = 45,
    seed: Annotated[int, Parameter(help="Of the drawing, and of the order in which methods are shown.")] = 0,
    pairs: Annotated[Literal["cross", "self", "all"], Parameter(help="Which of the bench's pairs.")] = "cross",
    size: Annotated[int, Parameter(help="Side of every video in pixels.")] = 384,
    told: Told = TOLD,
) -> int:
    """Write a page on which people rank the methods' videos, names hidden, by expression, identity and overall."""
    from pydantic import ValidationError

    from tasks.bench.methods import parse_methods
    from tasks.jobs.build_study import build_study
    from tasks.study.manifest import PAGE_FOLDER, STUDY, StudySettings
    from tasks.workspace.recipes import explain_problems

    try:
        settings = StudySettings(cases=cases, seed=seed, pairs=pairs, size=size)
    except ValidationError as error:
        raise ValueError("; ".join(explain_problems(error, StudySettings))) from error
    study = build_study(bench, parse_methods(method), output, settings)
    page = output / PAGE_FOLDER
    megabytes = sum(path.stat().st_size for path in page.rglob("*") if path.is_file()) / 1e6
    fewer = f" (the bench has no more {pairs} pairs)" if len(study.cases) < cases else ""
    told.end(
        {"page": str(page), "key": str(output / STUDY), "cases": len(study.cases), "methods": len(study.methods)},
        f"\n{len(study.cases)} cases of {len(study.methods)} methods{fewer}",
        f"  for raters   {page} ({megabytes:.0f} MB): open its index.html, or put the folder on any web server",
        f"  for you      {output / STUDY}: which letter is which method; `fye study score` needs it",
    )
    return 0


@study_app.command
def score(
    answers: Annotated[list[Path], Parameter(help="Answer files, and folders of them.", negative="")],
    *,
    study: Annotated[Path, Parameter(help="Folder that `fye study build` wrote.")],
    output: Annotated[Path, Parameter(help="Folder for tables and numbers.")],
    told: Told = TOLD,
) -> int:
    """Aggregate raters' answers: mean ranks and wins with intervals, and how far the raters agree."""
    from tasks.jobs.score_study import score_study

    found = score_study(study, answers, output)
    left_out = {str(file.file): file.reason for file in found.left_out}
    for file, reason in left_out.items():
        told.warn(f"left out: {file}: {reason}")
    table = (output / "table.md").read_text(encoding="utf-8").rstrip("\n")
    said = [f"left out: {file}: {reason}" for file, reason in left_out.items()]
    told.end({"output": str(output), "left_out": left_out}, *said, f"\n{table}")
    return 0


def register(app: App) -> None:
    """Add the commands to the command line."""
    app.command(study_app)
