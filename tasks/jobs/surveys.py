"""What is told of a data set on request: its numbers, coverage, dates, named recordings. Nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from fye_model.files import write_atomic, write_json
from tasks.footage.card import Card, load_card
from tasks.jobs.holdings import read_holdings
from tasks.survey.coverage import Coverage, cover, cover_clip, coverage_lines
from tasks.survey.datacard import datacard
from tasks.survey.dates import RecordingDates, date_lines, recording_dates
from tasks.survey.named import NamedRecording, check_named, named_lines
from tasks.survey.records import Holdings
from tasks.survey.stats import DatasetStats, dataset_stats
from tasks.workspace.sources import Root, registered_roots


@dataclass(frozen=True)
class Survey:
    """A data set, looked through once."""

    holdings: Holdings
    coverage: Coverage
    dates: RecordingDates
    named: list[NamedRecording]
    stats: DatasetStats


def survey(work: str) -> Survey:
    """Look through a work folder: reads the pose and expression columns of every kept clip's landmarks.

    Raises ValueError where no run has ended yet, or a landmark table is damaged.
    """
    holdings = read_holdings(work)
    seen = [cover_clip(holdings, clip) for clip in holdings.kept]
    coverage, named = cover(holdings, seen), check_named(holdings.clips, seen)
    return Survey(holdings, coverage, recording_dates(holdings), named, dataset_stats(holdings, coverage, named))


def coverage_text(found: Survey) -> str:
    """Who shows what, what to record next, when it was recorded and which recordings are misnamed, as Markdown."""
    parts = (coverage_lines(found.coverage), date_lines(found.dates), named_lines(found.named))
    return "\n\n".join("\n".join(lines) for lines in parts if lines).rstrip() + "\n"


def coverage_json(found: Survey) -> dict[str, JsonValue]:
    """The same for programs."""
    named: list[JsonValue] = [entry.model_dump(mode="json") for entry in found.named]
    dates = found.dates.model_dump(mode="json")
    return {"coverage": found.coverage.model_dump(mode="json"), "recorded": dates, "named": named}


def write_coverage(found: Survey, folder: Path) -> Path:
    """Write coverage.png, coverage.md and coverage.json into a folder; returns the picture's path."""
    from tasks.survey.picture import coverage_png  # matplotlib is slow to import

    picture = folder / "coverage.png"
    write_atomic(picture, coverage_png(found.coverage))
    write_atomic(folder / "coverage.md", coverage_text(found).encode())
    write_json(folder / "coverage.json", coverage_json(found))
    return picture


def write_card(work: str, output: Path | None = None, title: str | None = None) -> Path:
    """Write the data set's card into its work folder, or to `output`; returns where.

    Raises ValueError where no run has ended, and where the work folder is not on this machine and no file is given.
    """
    found = survey(work)
    root = found.holdings.store.local_root
    if output is None:
        if root is None:
            raise ValueError(f"{work} is no folder of this machine; give a file for the card: --output FILE")
        output = root / "datacard.md"
    if output.is_dir():
        raise ValueError(f"--output {output} is a folder; give a file, such as {output / 'datacard.md'}")
    name = title or (root.resolve().name if root else work.rstrip("/").rpartition("/")[2])
    cards = _cards(registered_roots(found.holdings.store), {source.card for source in found.holdings.sources})
    write_atomic(output, datacard(found.holdings, found.stats, found.coverage, found.dates, name, cards).encode())
    return output


def _cards(roots: Sequence[Root], wanted: set[str | None]) -> dict[str, Card]:
    """The sources' cards by name, a user's own files first; without those whose file has gone."""
    found: dict[str, Card] = {}
    for place in (*(root.card for root in roots if root.card), *(name for name in wanted if name)):
        with suppress(ValueError):
            card = load_card(place)
            found.setdefault(card.name, card)
    return found
