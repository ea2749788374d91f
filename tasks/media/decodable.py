"""Whether a stored file can be read to its end as what its ending says: the last look, after its size and hash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av.error
import numpy as np
import pyarrow.parquet as pq
from pyarrow.lib import ArrowException
from safetensors import SafetensorError, safe_open

from fye_model.files import parse_json
from tasks.engine.items import Quarantine
from tasks.media.audio import AudioSource
from tasks.media.pictures import open_picture
from tasks.media.read import VideoReader


def undecodable(path: Path) -> str | None:
    """What is wrong with a video, sound, picture, table, array, weights or JSON file; None where nothing is.

    Nothing is said of files of other kinds. All frames are decoded, one in memory at a time.
    """
    look = _LOOKS.get(path.suffix.lower())
    if look is None:
        return None
    try:
        return look(path)
    except Quarantine as bad:
        return bad.message
    except (ArrowException, SafetensorError, av.error.FFmpegError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'it cannot be read'}"


def _video(path: Path) -> str | None:
    with VideoReader(path) as reader:
        frames, claimed = sum(1 for _ in reader), reader.info.frames
        damaged = reader.corrupt_frames + reader.refused_packets
    if damaged:
        return f"{damaged} of its frames are damaged"
    return f"{frames} frames can be decoded where it claims {claimed}" if claimed not in (None, frames) else None


def _sound(path: Path) -> str | None:
    source = AudioSource(path)
    try:
        return None if sum(block.size for block in source.blocks(0.0)) else "it holds no samples"
    finally:
        source.close()


def _picture(path: Path) -> str | None:
    with open_picture(path) as picture:
        for index in range(getattr(picture, "n_frames", 1)):
            picture.seek(index)
            picture.load()
    return None


def _table(path: Path) -> str | None:
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches():
            batch.validate(full=True)
    return None


def _array(path: Path) -> str | None:
    np.load(path, mmap_mode="r", allow_pickle=False)
    return None


def _weights(path: Path) -> str | None:
    with safe_open(path, framework="numpy") as tensors:
        return None if tensors.keys() else "it holds no tensors"


def _json(path: Path) -> str | None:
    parse_json(path.read_bytes())
    return None


_LOOKS: dict[str, Callable[[Path], str | None]] = {
    **dict.fromkeys((".mp4", ".webm"), _video),
    **dict.fromkeys((".flac", ".wav"), _sound),
    **dict.fromkeys((".png", ".jpg", ".webp", ".gif"), _picture),
    ".parquet": _table,
    ".npy": _array,
    ".safetensors": _weights,
    ".json": _json,
}
