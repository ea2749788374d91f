"""Records as a Parquet table in the work folder: a row each, a column for each field."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.config import Config
from tasks.engine.store import Store


def table_bytes(rows: Sequence[Config], record: type[Config], schema_version: str) -> bytes:
    """The table as a file's bytes, also of no rows. Numbers are numbers, which may be missing; all others are text."""
    columns = [(name, _column(field.annotation)) for name, field in record.model_fields.items()]
    schema = pa.schema(columns, metadata={"schema_version": schema_version})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row.model_dump() for row in rows], schema=schema), sink)
    return sink.getvalue()


def write_rows(store: Store, path: str, rows: Sequence[Config], record: type[Config], schema_version: str) -> None:
    """Write the table into a store."""
    store.write_bytes(path, table_bytes(rows, record, schema_version))


def _column(annotation: object) -> pa.DataType:
    if annotation in (float, float | None):
        return pa.float64()
    return pa.int64() if annotation in (int, int | None) else pa.string()
