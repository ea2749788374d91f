"""One method of a finished scoring on a bench, as a comparison of runs reads it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from fye_model.evaluation.scores import ClipScores
from tasks.bench.methods import REFERENCE
from tasks.bench.tables import TABLES_FOLDER, BenchScores, PairScore
from tasks.results.records import number
from tasks.results.runs import Scored, ScoredRun

SCORES = "scores.json"
_OF_METHOD = ("model", "sampling")  # what `evaluate --bench` adds to the protocol


def scores_folder(folder: Path) -> Path | None:
    """The folder with scores.json: this one, or `scores` in a bench's output folder; None where there is none."""
    return next((place for place in (folder, folder / TABLES_FOLDER) if (place / SCORES).is_file()), None)


def read_bench_scores(folder: Path, method: str | None = None) -> ScoredRun:
    """A method's scores. method: needed only where more than one was scored beside the repeated reference.

    Raises ValueError for another version's file, and for a method that is not there or not the only one.
    """
    path = folder / SCORES
    try:
        found = BenchScores.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ValueError(
            f"{path} cannot be read, or another version wrote it: score the bench again into the same folder, which "
            "takes finished results over"
        ) from error
    scored = [name for name in found.methods if name != REFERENCE]
    if method is None and len(scored) == 1:
        method = scored[0]
    if method not in found.methods:
        wrong = "say which" if method is None else f"not {method!r}"
        raise ValueError(f"{folder} has the methods {', '.join(found.methods)}; {wrong} with --method-a or --method-b")
    size = int(found.protocol["size"])
    return ScoredRun(
        folder=folder,
        method=method,
        terms={**found.bench, **{name: value for name, value in found.protocol.items() if name not in _OF_METHOD}},
        metrics={},
        settings={name: found.protocol[name] for name in _OF_METHOD if name in found.protocol},
        clips={f"{row.kind} {row.pair}": _scored(row, size) for row in found.pairs if row.method == method},
    )


def _scored(row: PairScore, size: int) -> Scored:
    """No yardstick: the bench's manifest, which is one of the terms, vouches for every picture."""
    return Scored(
        id=row.pair,
        name=row.pair,
        task=row.kind,
        frames=f"{row.frames} frames",
        scores=ClipScores(
            frames=row.frames,
            no_face_in_result=row.no_face_in_result,
            no_face_in_truth=row.no_face_in_truth,
            size=(size, size),
            statistics={name: tuple(number(value) for value in values) for name, values in row.statistics.items()},
            per_frame={},
            signals={},
        ),
        yardstick=None,
        trained_on=False,
    )
