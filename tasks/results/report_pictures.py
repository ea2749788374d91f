"""The report's pictures: videos, strips and plots of the worst clips, inside the page where they are small."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from fye_model.evaluation.metric import Metric
from tasks.results.report_rows import moves
from tasks.results.verdict import show

INLINE_VIDEO_BYTES = 3 << 20  # larger ones lie beside the report, and so do those of clips beyond the first
MOST_IN_FULL = 12  # clips with strip and signals, and with their video inside the page


@dataclass(frozen=True)
class Shown:
    """A clip or pair to look at: addresses of its video, strip and plots, and what is said of it.

    strip is empty and plots are none for clips that are shown by their video alone.
    """

    name: str
    about: str
    numbers: str
    video: str
    strip: str
    plots: tuple[tuple[str, str], ...]


def gallery(
    rows: Sequence[Mapping[str, Any]], told: Sequence[Metric], folder: Path, out_dir: Path
) -> tuple[list[Shown], list[Shown]]:
    """Every row in the order given: the first in full, the others by their videos, which lie beside the report.

    told: metrics whose values stand above the picture. folder: where the rows' files are.
    """
    full = [_shown(row, told, folder, out_dir, True) for row in rows[:MOST_IN_FULL]]
    return full, [_shown(row, told, folder, out_dir, False) for row in rows[MOST_IN_FULL:]]


def _shown(row: Mapping[str, Any], told: Sequence[Metric], folder: Path, out_dir: Path, full: bool) -> Shown:
    numbers = ", ".join(
        f"{metric.label} {show(row['model'][metric.name])} (baseline {show(row['baseline'][metric.name])})"
        for metric in told
        if row["model"][metric.name] is not None
    )
    video = folder / row["video"]
    small = full and video.stat().st_size <= INLINE_VIDEO_BYTES
    return Shown(
        name=row["name"],
        about=moves(row) + ("" if row.get("aligned", True) else "; the motion could not be laid onto this face"),
        numbers=numbers,
        video=data_uri(video.read_bytes(), "video/mp4") if small else _beside(video, out_dir),
        strip=data_uri(_as_webp(folder / row["strip"]), "image/webp") if full else "",
        plots=_plots(row) if full and "signals" in row else (),
    )


def _plots(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    from tasks.results.plots import signal_svgs  # matplotlib is slow to import

    pictures = signal_svgs(row["signals"], row["span"][1] - row["model"]["frames"])
    return tuple((title, svg(picture)) for title, picture in pictures.items())


def _as_webp(path: Path) -> bytes:
    """A stored PNG in a tenth of its bytes."""
    buffer = io.BytesIO()
    with Image.open(path, formats=("PNG",)) as picture:
        picture.save(buffer, "WEBP", quality=90)
    return buffer.getvalue()


def _beside(path: Path, out_dir: Path) -> str:
    """The address of a copy beside the report."""
    target = out_dir / "videos" / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.resolve() != path.resolve():
        shutil.copyfile(path, target)
    return quote(f"videos/{path.name}")


def svg(picture: bytes) -> str:
    """A plot as an address that holds it."""
    return data_uri(picture, "image/svg+xml")


def data_uri(data: bytes, kind: str) -> str:
    """A file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
