"""Finished windows of an animation on disk, so that a run that was interrupted or killed goes on from them.

They lie in a hidden folder beside the output, under a key of all that their latents are made from; each carries the
digest of its own bytes. When the output is written, the folder is removed.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fye_model.animation.schedule import Window
from fye_model.config import SamplingConfig
from fye_model.files import json_digest, write_atomic
from tasks.animation.scene import Performance

if TYPE_CHECKING:  # slow to import
    from torch import Tensor

Log = Callable[[str], None]
_DIGEST = 64  # characters of a sha256, at the start of each file


def folder_of(output: Path) -> Path:
    """Where an output's finished windows are kept."""
    return output.with_name(f".{output.name}.windows")


def key_of(performance: Performance, model: Path, sampling: SamplingConfig, how: str) -> str:
    """What the latents of one face's windows are made from. how: device, precision and versions, in words.

    A model folder counts by its files' names, sizes and times: reading gigabytes again would take as long as some runs.
    """
    stats = [(path, path.stat()) for path in sorted(model.rglob("*")) if path.is_file()]
    files = [(path.relative_to(model).as_posix(), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    landmarks = performance.landmarks
    drawn = hashlib.sha256(np.ascontiguousarray(landmarks.points_px).tobytes())
    return json_digest(
        {
            "model": files,
            "portrait": hashlib.sha256(performance.reference.tobytes()).hexdigest(),
            "landmarks": [drawn.hexdigest(), landmarks.height, landmarks.width, landmarks.variant],
            "sampling": sampling.model_dump(mode="json"),
            "how": how,
        }
    )


class KeptWindows:
    """The windows of one face's video; a `WindowStore`. on_found: called for each window that an earlier run made."""

    def __init__(self, folder: Path, key: str, log: Log, on_found: Callable[[], None]) -> None:
        self.folder = folder / key[:16]
        self._log, self._on_found = log, on_found

    def get(self, window: Window) -> Tensor | None:
        """A window's latents, if they are there and whole; a damaged file is said and removed."""
        import torch

        path = self._path(window)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        digest, body = data[:_DIGEST], data[_DIGEST:]
        if hashlib.sha256(body).hexdigest().encode() != digest:
            self._log(f"{path}: damaged; these frames are made again")
            path.unlink(missing_ok=True)
            return None
        self._on_found()
        return torch.from_numpy(np.load(io.BytesIO(body), allow_pickle=False))

    def put(self, window: Window, latents: Tensor) -> None:
        """Keep a window's latents."""
        body = io.BytesIO()
        np.save(body, latents.numpy(), allow_pickle=False)
        digest = hashlib.sha256(body.getvalue()).hexdigest().encode()
        write_atomic(self._path(window), digest + body.getvalue())

    def _path(self, window: Window) -> Path:
        return self.folder / f"{window.frames[0]}-{window.frames[-1]}-{len(window.frames)}.window"


def forget_others(output: Path, keys: list[str]) -> None:
    """Remove what is kept for an output under other keys: of an earlier request for the same file."""
    folder = folder_of(output)
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name not in {key[:16] for key in keys}:
            shutil.rmtree(entry, ignore_errors=True)


def forget(output: Path) -> None:
    """Remove all that is kept for an output."""
    shutil.rmtree(folder_of(output), ignore_errors=True)


def how_computed(pipeline: Any) -> str:
    """Device, precision and version in words: windows of two of them are not mixed."""
    import torch

    return f"{pipeline.device.type} {pipeline.denoiser.dtype} torch {torch.__version__}"
