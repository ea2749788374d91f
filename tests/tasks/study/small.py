"""A bench and two methods' videos at small size, made without a landmark model: a study needs none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tasks.bench.manifest import (
    PROTOCOL,
    SCHEMA,
    Bench,
    DrivingRow,
    Header,
    PairRow,
    PortraitRow,
    read_bench,
    write_manifest,
)
from tasks.media.write import write_video
from tests.tasks.videos import numbered

SIZE, FRAMES, FPS = 64, 10, 25.0
METHODS = ("ours", "theirs", "third")
SQUARE = {"left": 0, "top": 0, "side": SIZE, "source": "drawn", "licence": "CC0", "source_sha256": "0"}


def make_bench(folder: Path, portraits: int = 3, videos: int = 2) -> Bench:
    """Every portrait with every video, and a self pair; portraits differ by colour, videos are numbered frames."""
    rows = [_portrait(folder, f"p{i}", (60 * i, 90, 120), "") for i in range(portraits)]
    rows.append(_portrait(folder, "self.v0", (9, 9, 9), "v0"))
    drivers = [_driver(folder, f"v{i}") for i in range(videos)]
    pairs = [PairRow(portrait=f"p{i}", driving=f"v{j}", kind="cross") for i in range(portraits) for j in range(videos)]
    pairs.append(PairRow(portrait="self.v0", driving="v0", kind="self"))
    header = Header(
        schema=SCHEMA,
        name="<b>bench</b>",
        protocol=PROTOCOL,
        software="test",
        landmark_model="none",
        made={},
        files={},
    )
    write_manifest(
        folder, header, {"portraits.csv": rows, "driving.csv": drivers, "pairs.csv": pairs, "rejected.csv": []}
    )
    return read_bench(folder)


def make_methods(bench: Bench, root: Path, names: tuple[str, ...] = METHODS) -> dict[str, Path]:
    """Videos of one grey level a method, so that a test can tell who made what it sees."""
    folders = {}
    for level, name in enumerate(names, 1):
        folders[name] = root / name
        for pair in bench.pairs:
            frame = np.full((SIZE, SIZE, 3), LEVEL * level, np.uint8)
            write_video(folders[name] / f"{pair.name}.mp4", [frame] * FRAMES, FPS)
    return folders


LEVEL = 60  # between the grey levels of two methods


def _portrait(folder: Path, name: str, colour: tuple[int, int, int], frame_of: str) -> PortraitRow:
    file = f"portraits/{name}.png"
    (folder / "portraits").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIZE, SIZE), colour).save(folder / file)
    return PortraitRow(
        id=name, file=file, style="real", detectable=True, size=SIZE, frame_of=frame_of, source_file=name, **SQUARE
    )


def _driver(folder: Path, name: str) -> DrivingRow:
    file = f"driving/{name}.mp4"
    write_video(folder / file, numbered(FRAMES, SIZE, SIZE), FPS)
    return DrivingRow(
        **{"id": name, "file": file, "fps": FPS, "frames": FRAMES, "size": SIZE, "tags": (), "detected": 1.0},
        **{"yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0, "source_file": name, "start_s": 0.0},
        **SQUARE,
    )
