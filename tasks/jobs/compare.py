"""What a comparison is given: a work folder, an evaluation or a bench's scores, found and read."""

from __future__ import annotations

from pathlib import Path

from tasks.bench.scored import read_bench_scores, scores_folder
from tasks.results.runs import ScoredRun, evaluation_folder, read_evaluation, read_json
from tasks.workspace.summary import SUMMARY


def read_run(folder: Path, method: str | None = None) -> ScoredRun:
    """The scores of one method of a finished run, wherever in `folder` they lie.

    Raises ValueError for what holds no finished evaluation, which says what is there and what would be right, and
    where it is not clear which one is meant.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder of this machine; give a work folder of a finished run")
    evaluation, scores = evaluation_folder(folder), scores_folder(folder)
    if evaluation is not None and scores is not None:
        raise ValueError(f"{folder} holds an evaluation and a bench's scores; give {evaluation} or {scores}")
    if evaluation is not None:
        return read_evaluation(evaluation, method)
    if scores is not None:
        return read_bench_scores(scores, method)
    raise ValueError(
        f"{folder} holds no finished evaluation (metrics.json, evaluation/metrics.json or scores/scores.json)"
        f"{_last_run(folder)}; give the work folder of a `fye retrain`, `fye evaluate` or `fye score` that ended well"
    )


def _last_run(folder: Path) -> str:
    """What the last run in a work folder was, and how it ended; empty where there was none."""
    if not (folder / SUMMARY).is_file():
        return ""
    summary = read_json(folder / SUMMARY)
    if not isinstance(summary, dict):
        return ""
    why = f": {summary['error']}" if "error" in summary else ""
    return f"; its last run was `{summary.get('flow')}`, which ended as {summary.get('status')}{why}"
