"""Methods scored on a bench are compared pair by pair, also from two folders, if the bench is the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fye_model.evaluation.compare import Comparison, Truth
from fye_model.evaluation.cross import METRICS_OF
from fye_model.evaluation.scores import ClipScores, score
from fye_model.files import write_json
from tasks.bench.manifest import Bench, Header, Kind, PairRow, PortraitRow
from tasks.bench.tables import side_by_side, write_tables
from tasks.jobs.compare import read_run
from tasks.results.comparison import compare_runs
from tests.fye_model.evaluation.moving_face import face, track

FRAMES, SIZE = 10, 24
PAIRS = [
    PairRow(portrait=f"p{number}", driving="d", kind=kind)
    for number, kind in enumerate(("cross", "cross", "cross", "self"))
]


def _bench(folder: Path) -> Bench:
    """As much of a bench as tables are made from."""
    portraits = [
        PortraitRow(
            **{"id": pair.portrait, "file": "portraits/a.png", "style": "real", "source": "s", "licence": "l"},
            **{"detectable": True, "size": SIZE, "frame_of": "", "source_file": "a", "source_sha256": "0"},
            **{"left": 0, "top": 0, "side": SIZE},
        )
        for pair in PAIRS
    ]
    words = {"name": "mini", "protocol": "emojibench-1", "software": "test", "landmark_model": "m"}
    header = Header(schema=1, **words, made={}, files={})
    return Bench(folder, header, tuple(portraits), (), tuple(PAIRS), ())


def _scores(kind: Kind, seed: int, amplitude: float) -> ClipScores:
    rng = np.random.default_rng(seed)
    mouth = 1 + np.sin(np.arange(FRAMES) / 2 + seed)
    pictures = rng.integers(90, 150, (FRAMES, SIZE, SIZE, 3)).astype(np.uint8)
    moved = track([face(1 + amplitude * (opening - 1) + 0.02 * rng.normal()) for opening in mouth], SIZE)
    truth = Truth(pictures, track([face(opening) for opening in mouth], SIZE))
    return score(Comparison(truth, pictures[::-1].copy(), moved, pictures[0]), METRICS_OF[kind])


def _write(output: Path, methods: dict[str, float], digest: str = "abc") -> Path:
    """The tables of methods that move the mouth so far, as a scoring leaves them."""
    scores = {
        name: {pair.name: _scores(pair.kind, place, amplitude) for place, pair in enumerate(PAIRS)}
        for name, amplitude in {**methods, "reference": 0.0}.items()
    }
    terms: dict[str, str | int] = {"scored frames": "paper", "size": SIZE, "landmark model": "m", "model": output.name}
    write_tables(side_by_side(_bench(output), digest, terms, scores), output / "scores")
    return output


def test_two_folders_and_two_methods_of_one_give_what_the_bench_itself_says(tmp_path: Path) -> None:
    together = _write(tmp_path / "together", {"ours": 0.95, "theirs": 0.2})
    a, b = _write(tmp_path / "a", {"ours": 0.95}), _write(tmp_path / "b", {"theirs": 0.2})
    found = compare_runs(read_run(a), read_run(b))
    again = compare_runs(read_run(together, "ours"), read_run(together / "scores", "theirs"))
    assert [section.rows for section in found.sections] == [section.rows for section in again.sections]
    assert [(section.task, len(section.clips)) for section in found.sections] == [("self", 1), ("cross", 3)]
    stored = json.loads((together / "scores" / "scores.json").read_text())["tasks"]["cross"]["differences"]
    told = {row["metric"]: row for row in stored if (row["ours"], row["theirs"]) == ("ours", "theirs")}
    rows = found.sections[1].rows
    assert {row.metric for row in rows} == told.keys()
    for row in rows:
        assert (row.difference.value, row.outcome) == (told[row.metric]["value"], told[row.metric]["outcome"])
    (error,) = [row for row in rows if row.metric == "expression_change_error"]
    assert error.outcome == "better"
    assert "the expression is better than B's" in found.sections[1].sentence
    assert "the picture" not in found.sections[1].sentence  # another identity has other pixels


def test_another_bench_is_refused_and_an_unclear_method_is_asked_for(tmp_path: Path) -> None:
    a, b = _write(tmp_path / "a", {"ours": 0.9}), _write(tmp_path / "b", {"ours": 0.9}, digest="def")
    with pytest.raises(ValueError, match="manifest_sha256: A has 'abc', B has 'def'"):
        compare_runs(read_run(a), read_run(b))
    many = _write(tmp_path / "many", {"ours": 0.9, "theirs": 0.5})
    with pytest.raises(ValueError, match="has the methods ours, theirs, reference; say which"):
        read_run(many)
    with pytest.raises(ValueError, match="not 'other'"):
        read_run(many, "other")


def test_scores_of_another_version_say_what_to_do(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", {"ours": 0.9})
    stored = json.loads((folder / "scores" / "scores.json").read_text())
    for pair in stored["pairs"]:
        del pair["statistics"]
    write_json(folder / "scores" / "scores.json", stored)
    with pytest.raises(ValueError, match="another version wrote it: score the bench again"):
        read_run(folder)
