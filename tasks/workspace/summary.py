"""What a run leaves behind and says: summary.json, the manifest, the quarantine, and their lines on the terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import Field, JsonValue, TypeAdapter

from fye_model.config import Config
from fye_model.version import this_software
from tasks.engine.items import StageCounts, as_json
from tasks.engine.many import many_records
from tasks.engine.store import Store
from tasks.workspace.changes import SourceChanges, change_lines
from tasks.workspace.rows import write_rows

KEPT = "clips.json"
SUMMARY = "summary.json"
SUMMARY_SCHEMA = 2
_TABLES_SCHEMA = "2"
_KEPT = TypeAdapter(dict[str, str])
logger = logging.getLogger(__name__)


class QuarantineRow(Config):
    """One item that was set aside: where, which (its id and its name), and why."""

    stage: str
    item: str
    name: str
    reason: str
    message: str


class StageLine(Config):
    """How many items a stage had, and what became of them."""

    stage: str
    items: int
    done: int
    quarantined: int


class FunnelStep(Config):
    """What was left after a screening rule."""

    rule: str
    lost: int
    clips: int
    frames: int


class DataSummary(Config):
    """What a data set holds, what screening made of it, and the names of the clips that came and went."""

    clips: int
    kept: int
    subjects: int
    rejected: dict[str, tuple[str, ...]]
    funnel: tuple[FunnelStep, ...]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class PromotionLine(Config):
    """What became of a trained model: its id, whether it is the one in use now, or waits for a person, and why.

    before: the id of the model that was in use; None where there was none. rule: by which it was decided.
    """

    model: str
    promoted: bool
    waiting: bool = False
    before: str | None = None
    why: str
    rule: str


class Results(Config):
    """What a flow found: of its data, of its model, and where it lies."""

    sources: SourceChanges | None = None
    data: DataSummary | None = None
    metrics: dict[str, JsonValue] | None = None
    baseline: dict[str, JsonValue] | None = None
    beats_baseline: dict[str, bool | None] | None = None
    missing_metrics: dict[str, str] | None = None
    cross: dict[str, JsonValue] | None = None  # pairs, metrics, baseline, missing; or left_out and why
    verdict: str | None = None
    selected_checkpoint: str | None = None
    selection: dict[str, JsonValue] | None = None
    promotion: PromotionLine | None = None
    outputs: dict[str, str] | None = None
    error: str | None = None


class Summary(Results):
    """summary.json."""

    schema_version: int = Field(SUMMARY_SCHEMA, alias="schema")
    software: str = Field(default_factory=this_software)
    flow: str
    status: str
    recipe: str
    landmark_model: str
    started: str
    seconds: float
    stages: tuple[StageCounts, ...]
    quarantined: int

    def as_json(self) -> dict[str, JsonValue]:
        """As it is written; what a flow did not find is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ManifestRow(Config):
    """One item of one stage: its id and name, what became of it, and where its outputs lie in the store."""

    stage: str
    item: str
    name: str
    status: str
    reason: str | None
    folder: str
    row: str  # JSON
    landmark_model: str


def note_changes(store: Store, kept: Mapping[str, str], known: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the clips that came and went since this was last asked, which is noted.

    kept: id -> name of the clips that are kept now; known: ids of all clips there are.
    """
    before = _kept_before(store)
    if before is None:
        before = dict(kept)
    store.write_json(KEPT, dict(kept))
    added = sorted(name for clip, name in kept.items() if clip not in before)
    removed = sorted(name for clip, name in before.items() if clip not in known)
    return tuple(added), tuple(removed)


def _kept_before(store: Store) -> dict[str, str] | None:
    """The clips of the last run; None where the file that told of them is damaged."""
    try:
        return _KEPT.validate_json(store.read_bytes(KEPT))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        told = "it is made anew, and this run cannot tell which clips came and went"
        logger.warning("%s/%s is damaged (%s): %s", store.url, KEPT, type(error).__name__, told)
        return None


def result_lines(summary: Results, set_aside: int, most: int = 10) -> Iterator[tuple[str, str]]:
    """What became of the files and clips: counts, what came and went, what was left out and why; then the outputs."""
    if summary.sources is not None:
        yield from change_lines(summary.sources, most)
    if summary.data is not None:
        data = summary.data
        yield "data", f"{data.kept} of {data.clips} clips kept, subjects: {data.subjects}"
        lines = [("new clip", name) for name in data.added]
        lines += [("lost clip", f"{name}: its video is gone, or has changed") for name in data.removed]
        lines += [("rejected", f"{name}: {'; '.join(reasons)}") for name, reasons in data.rejected.items()]
        for label in ("new clip", "lost clip", "rejected"):
            texts = [text for kind, text in lines if kind == label]
            yield from ((label, text) for text in texts[:most])
            if len(texts) > most:
                yield label, f"… and {len(texts) - most} more, see summary.json"
        if set_aside:
            yield "set aside", f"{set_aside} files or clips, see the lines above or quarantine.parquet"
    if summary.promotion is not None:
        line = summary.promotion
        yield "promoted" if line.promoted else "waits" if line.waiting else "not promoted", f"{line.model}: {line.why}"
    if summary.verdict is not None:
        yield "quality", summary.verdict
    if summary.selected_checkpoint is not None:
        yield "selected", summary.selected_checkpoint
    yield from (summary.outputs or {}).items()


@many_records()
def write_tables(
    store: Store, summary: Summary, manifest: Iterable[ManifestRow], quarantine: Sequence[QuarantineRow]
) -> None:
    """Write quarantine.parquet, manifest.parquet and, last, summary.json into the work folder."""
    write_rows(store, "quarantine.parquet", quarantine, QuarantineRow, _TABLES_SCHEMA)
    write_rows(store, "manifest.parquet", manifest, ManifestRow, _TABLES_SCHEMA)
    store.write_json(SUMMARY, summary.as_json())


def row_text(record: Config | None) -> str:
    """A row as JSON text, keys sorted."""
    return json.dumps(as_json(record), sort_keys=True)
