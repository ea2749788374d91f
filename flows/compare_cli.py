"""`fye compare`: any two finished runs, clip by clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.options import Json

Method = Annotated[str | None, Parameter(help="Which of its methods, where a run has several.")]


def compare(
    run_a: Annotated[Path, Parameter(help="Work folder of a retrain or evaluate, an evaluation, or a bench's scores.")],
    run_b: Annotated[Path, Parameter(help="The other one.")],
    *,
    output: Annotated[Path | None, Parameter(help="Folder for comparison.md and comparison.json.")] = None,
    method_a: Method = None,
    method_b: Method = None,
    json: Json = False,
) -> int:
    """Compare two finished runs on the clips that both have: per metric A, B, their paired difference, better or worse.

    Refuses runs that were not measured alike, and says in what they differ.
    """
    from fye_model.files import write_atomic, write_json
    from tasks.jobs.compare import read_run
    from tasks.results.comparison import compare_runs
    from tasks.results.comparison_text import markdown

    if output is not None and output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; give a folder")
    found = compare_runs(read_run(run_a, method_a), read_run(run_b, method_b))
    text = markdown(found)
    if output is not None:
        write_atomic(output / "comparison.md", text.encode())
        write_json(output / "comparison.json", found.model_dump(mode="json", by_alias=True))
    print(found.model_dump_json(by_alias=True, indent=1) if json else text.rstrip("\n"))
    if output is not None and not json:
        print(f"\nwritten: {output / 'comparison.md'}, {output / 'comparison.json'}")
    return 0


def register(app: App) -> None:
    """Add the command to the command line."""
    app.command(compare)
