"""Raters' answers to a user study, aggregated: tables, numbers, and every file that was no use. A job, no stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fye_model.files import write_atomic, write_json
from tasks.results.grids import as_csv, as_markdown, as_page
from tasks.results.verdict import counted
from tasks.study.answers import collect, find_files
from tasks.study.manifest import read_study
from tasks.study.tables import StudyScores, aggregate, grids, notes, ranking_rows, raters_grid, value_rows


def score_study(study: Path, answers: Sequence[Path], output: Path) -> StudyScores:
    """Aggregate answer files into `output`: table.md, table.html, table.csv, rankings.csv, and study-scores.json.

    study: the folder with the key. answers: files, and folders of them. A file that cannot be used is in `left_out`
    with the reason; half-finished ones count for what they hold. Other files in `output` stay. Raises ValueError for
    what is no study, for places that are not there, and where no file can be used.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; give a folder")
    key = read_study(study)
    collected = collect(key, find_files(answers))
    found = aggregate(key, collected)
    title = f"User study: {len(found.methods)} methods, {counted(len(found.raters), 'rater')}"
    tables, told = grids(found), notes(found)
    write_atomic(output / "table.md", as_markdown(title, tables, told).encode())
    write_atomic(output / "table.html", as_page(title, tables, told, [raters_grid(found)]).encode())
    write_atomic(output / "table.csv", as_csv(value_rows(found)))
    write_atomic(output / "rankings.csv", as_csv(ranking_rows(key, collected)))
    write_json(output / "study-scores.json", found.model_dump(mode="json", by_alias=True))
    return found
