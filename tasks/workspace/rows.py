"""Records as a Parquet table in the work folder: a row each, a column for each field."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.config import Config
from tasks.engine.store import Store

_AT_ONCE = 1000  # rows held as Python objects: a data set's manifest has a row for each item of each stage


def table_bytes(rows: Iterable[Config], record: type[Config], schema_version: str) -> bytes:
    """The table as a file's bytes, also of no rows. Numbers are numbers, which may be missing; all others are text."""
    columns = [(name, _column(field.annotation)) for name, field in record.model_fields.items()]
    schema = pa.schema(columns, metadata={"schema_version": schema_version})
    sink = io.BytesIO()
    left = iter(rows)
    with pq.ParquetWriter(sink, schema) as writer:
        while some := [row.model_dump() for row in islice(left, _AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(some, schema=schema))
    return sink.getvalue()


def write_rows(store: Store, path: str, rows: Iterable[Config], record: type[Config], schema_version: str) -> None:
    """Write the table into a store."""
    store.write_bytes(path, table_bytes(rows, record, schema_version))


def _column(annotation: object) -> pa.DataType:
    if annotation in (float, float | None):
        return pa.float64()
    return pa.int64() if annotation in (int, int | None) else pa.string()
