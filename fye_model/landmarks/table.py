"""Landmarks of a clip in memory and on disk: one Parquet file per clip, one row per frame.

Equal input gives byte-identical files. Schema version, units, frame size and the landmark model's id are in the file's
metadata, so that a file explains itself and two landmark models are never mixed in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fye_model.files import whole_file
from fye_model.landmarks import blendshapes, topology

LANDMARKS_SCHEMA = "fye-landmarks-1"
MASKS_SCHEMA = "fye-masks-1"
BLENDSHAPES = len(blendshapes.NAMES)
_UNITS = (
    "points: x and y as fractions of frame width and height, z in the unit of x; "
    "matrix: canonical centimetres to camera centimetres, row-major; time_s: seconds of the source"
)
_ANEW = "delete it, and the run that made it makes it anew"


@dataclass(frozen=True)
class LandmarkSequence:
    """Landmarks of consecutive frames of one face.

    points: (f, 478, 3) float32, x and y as fractions of frame width and height, z in the unit of x; NaN where
    not valid.
    matrix: (f, 4, 4) float32, canonical centimetres to camera, row-major, NaN where not valid; None: not given.
    blendshapes: (f, 52) float32 in MediaPipe's order, [0] = neutral; None: not given.
    valid: (f,) bool, detected, or interpolated over a short gap; interpolated: (f,) bool; time_s: (f,) float64.
    width, height: pixels of the frames that the fractions refer to; model: id of the landmark model.
    """

    points: np.ndarray
    matrix: np.ndarray | None
    blendshapes: np.ndarray | None
    valid: np.ndarray
    interpolated: np.ndarray
    time_s: np.ndarray
    fps: float
    width: int
    height: int
    model: str

    def __post_init__(self) -> None:
        frames = len(self.points)
        shapes = {
            "points": (self.points, (frames, topology.POINTS, 3)),
            "matrix": (self.matrix, (frames, 4, 4)),
            "blendshapes": (self.blendshapes, (frames, BLENDSHAPES)),
            "valid": (self.valid, (frames,)),
            "interpolated": (self.interpolated, (frames,)),
            "time_s": (self.time_s, (frames,)),
        }
        for name, (array, expected) in shapes.items():
            if array is not None and array.shape != expected:
                raise ValueError(f"landmark sequence: {name} must have shape {expected}, got {array.shape}")
        if self.width <= 0 or self.height <= 0 or self.fps <= 0:
            raise ValueError(f"landmark sequence: {self.width}x{self.height} at {self.fps} fps is not a video")

    def __len__(self) -> int:
        return len(self.points)

    def pixels(self) -> np.ndarray:
        """Raw 2D landmarks in pixels of the frames: (f, 478, 2) float64, NaN where not valid."""
        return self.points[..., :2].astype(np.float64) * (self.width, self.height)

    def select(self, frames: slice | np.ndarray) -> LandmarkSequence:
        """The same face at some of the frames (a slice, or an index array)."""
        return replace(
            self,
            points=self.points[frames],
            matrix=None if self.matrix is None else self.matrix[frames],
            blendshapes=None if self.blendshapes is None else self.blendshapes[frames],
            valid=self.valid[frames],
            interpolated=self.interpolated[frames],
            time_s=self.time_s[frames],
        )


def write_landmarks(
    sequence: LandmarkSequence, path: str | Path, extra_metadata: Mapping[str, str] | None = None
) -> None:
    """Write a sequence as Parquet, atomically. `extra_metadata` is kept in the file's metadata beside our own keys."""
    metadata = {
        "schema_version": LANDMARKS_SCHEMA,
        "units": _UNITS,
        "model": sequence.model,
        "fps": repr(float(sequence.fps)),
        "width": str(sequence.width),
        "height": str(sequence.height),
    }
    clash = sorted(set(metadata) & set(extra_metadata or {}))
    if clash:
        raise ValueError(f"extra_metadata may not set {', '.join(clash)}: these describe the landmarks themselves")
    columns: dict[str, pa.Array] = {"points": _fixed_lists(sequence.points, np.float32)}
    if sequence.matrix is not None:
        columns["matrix"] = _fixed_lists(sequence.matrix, np.float32)
    if sequence.blendshapes is not None:
        columns["blendshapes"] = _fixed_lists(sequence.blendshapes, np.float32)
    columns["valid"] = pa.array(np.asarray(sequence.valid, bool))
    columns["interpolated"] = pa.array(np.asarray(sequence.interpolated, bool))
    columns["time_s"] = pa.array(np.asarray(sequence.time_s, np.float64))
    _write(columns, {**(extra_metadata or {}), **metadata}, path)


def read_landmarks(path: str | Path) -> LandmarkSequence:
    """Read what `write_landmarks` wrote. ValueError for a damaged file or another schema."""
    table, metadata = _read(path, LANDMARKS_SCHEMA)
    with _described(path, f"the landmarks that {LANDMARKS_SCHEMA} describes"):
        return LandmarkSequence(
            points=_array(table, "points", (topology.POINTS, 3)),
            matrix=_array_or_none(table, "matrix", (4, 4)),
            blendshapes=_array_or_none(table, "blendshapes", (BLENDSHAPES,)),
            valid=table["valid"].to_numpy(),
            interpolated=table["interpolated"].to_numpy(),
            time_s=table["time_s"].to_numpy(),
            fps=float(metadata["fps"]),
            width=int(metadata["width"]),
            height=int(metadata["height"]),
            model=metadata["model"],
        )


def read_motion(path: str | Path) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray, float]:
    """Pose and blendshapes of a table without its points, which are twenty times as much to read.

    Returns matrix (f, 4, 4) and blendshapes (f, 52), each None where the table has none, valid (f,) bool, and the
    frames per second. ValueError for a damaged file or another schema.
    """
    table, metadata = _read(path, LANDMARKS_SCHEMA, ["matrix", "blendshapes", "valid"])
    with _described(path, f"the landmarks that {LANDMARKS_SCHEMA} describes"):
        matrix, shapes = _array_or_none(table, "matrix", (4, 4)), _array_or_none(table, "blendshapes", (BLENDSHAPES,))
        return matrix, shapes, table["valid"].to_numpy(), float(metadata["fps"])


def read_metadata(path: str | Path) -> dict[str, str]:
    """All metadata of a landmark or mask file, ours and the writer's extra keys, without reading the data."""
    return _metadata(_read_schema(path))


def write_masks(
    path: str | Path, expression: np.ndarray, face: np.ndarray, extra_metadata: Mapping[str, str] | None = None
) -> None:
    """Write the two masks at latent size, (f, h, w) fractions each, as float16, atomically."""
    if expression.shape != face.shape or expression.ndim != 3:
        raise ValueError(f"masks must both have shape (f, h, w), got {expression.shape} and {face.shape}")
    _, height, width = expression.shape
    metadata = {"schema_version": MASKS_SCHEMA, "height": str(height), "width": str(width)}
    columns = {"expression": _fixed_lists(expression, np.float16), "face": _fixed_lists(face, np.float16)}
    _write(columns, {**(extra_metadata or {}), **metadata}, path)


def read_masks(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read what `write_masks` wrote: expression and face masks, (f, h, w) float32 each."""
    table, metadata = _read(path, MASKS_SCHEMA)
    with _described(path, f"the masks that {MASKS_SCHEMA} describes"):
        shape = (int(metadata["height"]), int(metadata["width"]))
        return tuple(_array(table, name, shape).astype(np.float32) for name in ("expression", "face"))  # type: ignore


def sequences_same_model(models: Iterable[str]) -> str:
    """The one landmark model of a data set. ValueError when there are two: their points differ by 1-2% of the IOD."""
    found = sorted(set(models))
    if len(found) != 1:
        raise ValueError(
            f"expected landmarks of one model, found {', '.join(found) or 'none'}; "
            "landmarks of different models are never mixed in one data set: detect again with one of them"
        )
    return found[0]


def _fixed_lists(array: np.ndarray, dtype: type) -> pa.Array:
    """(f, ...) -> f fixed-size lists; not a copy when the type is right already."""
    flat: np.ndarray = np.ascontiguousarray(array, dtype).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), max(1, int(np.prod(array.shape[1:]))))


def _array(table: pa.Table, name: str, shape: tuple[int, ...]) -> np.ndarray:
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # an empty table has no chunk to combine
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    result: np.ndarray = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape)
    return result


def _array_or_none(table: pa.Table, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    return _array(table, name, shape) if name in table.column_names else None


@contextmanager
def _described(path: str | Path, what: str) -> Iterator[None]:
    """Columns or metadata that are not as described become an error that names the file."""
    try:
        yield
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: not {what} ({error}); {_ANEW}") from error


def _write(columns: Mapping[str, pa.Array], metadata: Mapping[str, str], path: str | Path) -> None:
    table = pa.table(dict(columns)).replace_schema_metadata(dict(sorted(metadata.items())))
    with whole_file(Path(path)) as temporary, open(temporary, "wb") as file:
        pq.write_table(table, file, compression="zstd", use_dictionary=False)


def _read_schema(path: str | Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error})") from error


def _metadata(schema: pa.Schema) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}


def _read(path: str | Path, schema: str, wanted: Sequence[str] | None = None) -> tuple[pa.Table, dict[str, str]]:
    """The table, or those of the wanted columns that it has, and its metadata."""
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    stored = _read_schema(path)
    metadata = _metadata(stored)
    found = metadata.get("schema_version")
    if found != schema:
        raise ValueError(f"{path}: schema_version is {found!r}, this version reads {schema!r}; {_ANEW}")
    try:
        columns = None if wanted is None else [name for name in stored.names if name in wanted]
        return pq.read_table(path, columns=columns, memory_map=False), metadata
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: damaged Parquet file ({error}); {_ANEW}") from error
