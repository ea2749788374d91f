"""`fye stats` and `fye coverage`: a data set, as the last run left it, in numbers and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.options import Work

Json = Annotated[bool, Parameter(help="Print JSON in place of the tables.", negative="")]


def stats(*, work: Work = "work/retrain", json: Json = False) -> int:
    """Tell what a data set holds: funnel with reasons, hours, subjects, sizes, expressions."""
    from tasks.survey.coverage import coverage_lines
    from tasks.survey.named import named_lines
    from tasks.survey.stats import stats_lines
    from tasks.surveys import survey

    found = survey(work)
    if json:
        print(found.stats.model_dump_json(by_alias=True, indent=1))
        return 0
    for part in (stats_lines(found.stats), coverage_lines(found.coverage, 0), named_lines(found.named)):
        print("\n".join(part))
        print()
    return 0


def coverage(
    *,
    work: Work = "work/retrain",
    output: Annotated[Path | None, Parameter(help="Folder for coverage.png, .md and .json.")] = None,
    json: Json = False,
) -> int:
    """Tell which expressions, poses and gazes each subject shows and lacks, and what to record next."""
    from fye_model.files import write_atomic, write_json
    from tasks.survey.coverage import coverage_lines
    from tasks.survey.named import named_lines
    from tasks.survey.picture import coverage_png
    from tasks.surveys import survey

    if output is not None and output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; give a folder")
    found = survey(work)
    told = {
        "coverage": found.coverage.model_dump(mode="json"),
        "named": [entry.model_dump(mode="json") for entry in found.named],
    }
    text = "\n".join([*coverage_lines(found.coverage), "", *named_lines(found.named)]).rstrip() + "\n"
    if output is not None:
        write_atomic(output / "coverage.png", coverage_png(found.coverage))
        write_atomic(output / "coverage.md", text.encode())
        write_json(output / "coverage.json", told)
    if json:
        import json as module

        print(module.dumps(told, indent=1, ensure_ascii=False))
    else:
        print(text, end="")
        if output is not None:
            print(f"\nwritten: {output / 'coverage.png'}, coverage.md and coverage.json beside it")
    return 0


def register(app: App) -> None:
    """Add the commands to the command line."""
    app.command(stats)
    app.command(coverage)
