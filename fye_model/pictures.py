"""Frames as one Parquet file of WebP pictures: to be read where there is no video decoder."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fye_model.files import whole_file
from fye_model.processes import usable_cpus

SCHEMA = "fye-frames-1"


def write_pictures(path: Path, frames: np.ndarray, quality: int | None) -> None:
    """Write frames (f, h, w, 3) uint8 RGB, atomically: lossy WebP of 1 to 100, or lossless where `quality` is None."""
    how = {"lossless": True, "quality": 50, "method": 2} if quality is None else {"quality": quality, "method": 4}
    column = pa.array([_encoded(frame, how) for frame in frames], pa.binary())
    table = pa.table({"webp": column}).replace_schema_metadata({"schema_version": SCHEMA})
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="none", use_dictionary=False)


def read_pictures(path: Path) -> np.ndarray:
    """The frames (f, h, w, 3) uint8 RGB of a file that `write_pictures` wrote.

    Raises ValueError that names the file where it is damaged, of another schema, or its pictures differ in size.
    """
    try:
        table = pq.read_table(path, memory_map=False)
        found = (table.schema.metadata or {}).get(b"schema_version", b"none").decode()
        if found != SCHEMA:
            raise ValueError(f"schema {found!r}, expected {SCHEMA!r}")
        with ThreadPoolExecutor(usable_cpus()) as pool:  # Pillow lets other threads go on
            return np.stack(list(pool.map(_decoded, table["webp"].to_pylist())))
    except (OSError, KeyError, ValueError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path}: not a readable file of pictures ({error}); pack it again") from error


def _decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=("WEBP",)) as picture:
        return np.asarray(picture.convert("RGB"))


def _encoded(frame: np.ndarray, how: dict[str, int | bool]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "WEBP", **how)
    return buffer.getvalue()
