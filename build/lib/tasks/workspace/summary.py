"""What a run leaves behind and says: summary.json, the manifest, the quarantine, and their lines on the terminal."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, JsonValue

from fye_model.config import Config
from fye_model.version import this_software
from tasks.engine.items import StageCounts, as_json
from tasks.engine.store import Store

KEPT = "clips.json"
SUMMARY = "summary.json"
SUMMARY_SCHEMA = 2


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


class Results(Config):
    """What a flow found: of its data, of its model, and where it lies."""

    data: DataSummary | None = None
    metrics: dict[str, JsonValue] | None = None
    baseline: dict[str, JsonValue] | None = None
    beats_baseline: dict[str, bool | None] | None = None
    missing_metrics: dict[str, str] | None = None
    cross: dict[str, JsonValue] | None = None  # pairs, metrics, baseline, missing; or left_out and why
    selected_checkpoint: str | None = None
    selection: dict[str, JsonValue] | None = None
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
    before: dict[str, str] = store.read_json(KEPT) if store.exists(KEPT) else {}
    store.write_json(KEPT, dict(kept))
    added = sorted(name for clip, name in kept.items() if clip not in before)
    removed = sorted(name for clip, name in before.items() if clip not in known)
    return tuple(added), tuple(removed)


def result_lines(summary: Results, set_aside: int, most: int = 10) -> Iterator[tuple[str, str]]:
    """What became of the data: counts, what came and went, and what was left out with the reason; then the outputs."""
    if summary.data is not None:
        data = summary.data
        yield "data", f"{data.kept} of {data.clips} clips kept, subjects: {data.subjects}"
        lines = [("added", name) for name in data.added]
        lines += [("removed", f"{name}: its video is gone, or has changed") for name in data.removed]
        lines += [("rejected", f"{name}: {'; '.join(reasons)}") for name, reasons in data.rejected.items()]
        for label in ("added", "removed", "rejected"):
            texts = [text for kind, text in lines if kind == label]
            yield from ((label, text) for text in texts[:most])
            if len(texts) > most:
                yield label, f"… and {len(texts) - most} more, see summary.json"
        if set_aside:
            yield "set aside", f"{set_aside} files or clips, see the lines above or quarantine.parquet"
    yield from (summary.outputs or {}).items()


def write_tables(
    store: Store, summary: Summary, manifest: Sequence[ManifestRow], quarantine: Sequence[QuarantineRow]
) -> None:
    """Write quarantine.parquet, manifest.parquet and, last, summary.json into the work folder."""
    _write_table(store, "quarantine.parquet", quarantine, QuarantineRow)
    _write_table(store, "manifest.parquet", manifest, ManifestRow)
    store.write_json(SUMMARY, summary.as_json())


def _write_table(store: Store, path: str, rows: Sequence[Config], record: type[Config]) -> None:
    """One row a record; all columns are text."""
    columns = [(name, pa.string()) for name in record.model_fields]
    schema = pa.schema(columns, metadata={"schema_version": "2"})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row.model_dump() for row in rows], schema=schema), sink)
    store.write_bytes(path, sink.getvalue())


def show(summary: Summary, quarantine: Sequence[QuarantineRow]) -> None:
    """Log the summary and leave it as Prefect artifacts: the stages as a table, the quarantine as another."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact
    from prefect.logging import get_run_logger

    logger = get_run_logger()
    stages = [stage.model_dump(mode="json") for stage in summary.stages]
    create_table_artifact(stages, key="stages", description="Stages of this run")
    if quarantine:
        rows = [row.model_dump(mode="json") for row in quarantine]
        create_table_artifact(rows, key="quarantine", description="What was set aside, and why")
        for row in quarantine:
            logger.warning("quarantined in %s: %s: %s: %s", row.stage, row.name, row.reason, row.message)
    create_markdown_artifact(f"```json\n{json.dumps(summary.as_json(), indent=1)}\n```", key="summary")
    logger.log(logging.INFO, "%s in %.0f s", summary.status, summary.seconds)


def row_text(record: Config | None) -> str:
    """A row as JSON text, keys sorted."""
    return json.dumps(as_json(record), sort_keys=True)
