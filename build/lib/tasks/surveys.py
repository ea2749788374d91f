"""What is told of a data set on request: its numbers, its coverage, its named recordings. Nothing is kept."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.holdings import read_holdings
from tasks.survey.coverage import Coverage, cover, cover_clip
from tasks.survey.named import NamedRecording, check_named
from tasks.survey.records import Holdings
from tasks.survey.stats import DatasetStats, dataset_stats


@dataclass(frozen=True)
class Survey:
    """A data set, looked through once."""

    holdings: Holdings
    coverage: Coverage
    named: list[NamedRecording]
    stats: DatasetStats


def survey(work: str) -> Survey:
    """Look through a work folder: reads the pose and expression columns of every kept clip's landmarks.

    Raises ValueError where no run has ended yet, or a landmark table is damaged.
    """
    holdings = read_holdings(work)
    seen = [cover_clip(holdings, clip) for clip in holdings.kept]
    coverage, named = cover(holdings, seen), check_named(holdings.clips, seen)
    return Survey(holdings, coverage, named, dataset_stats(holdings, coverage, named))
