"""Records as a Parquet table in the work folder: a row each, a column for each field."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.config import Config
from tasks.engine.store import Store


def write_rows(store: Store, path: str, rows: Sequence[Config], record: type[Config], schema_version: str) -> None:
    """Write the table, also of no rows. Fields that end in `_s` are numbers, all others text."""
    columns = [(name, pa.float64() if name.endswith("_s") else pa.string()) for name in record.model_fields]
    schema = pa.schema(columns, metadata={"schema_version": schema_version})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row.model_dump() for row in rows], schema=schema), sink)
    store.write_bytes(path, sink.getvalue())
